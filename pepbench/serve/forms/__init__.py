"""Storage forms: one decoder for each, found by the name in ``meta.json``."""

from __future__ import annotations

from pepbench.serve.forms.composed import (
    ClusteredForm,
    CodedForm,
    ComposedRowsForm,
    HashNetworkForm,
    TensorTrainForm,
)
from pepbench.serve.forms.form import Form
from pepbench.serve.forms.hashed import (
    CircularArrayForm,
    DoubleHashedForm,
    HashedRowsForm,
    HotRowsForm,
    PooledRowsForm,
    ScaledRowsForm,
    SharedRowsForm,
)
from pepbench.serve.forms.masked import MaskedForm
from pepbench.serve.forms.tables import DenseForm, MixedForm, SummedForm

__all__ = ["FORMS", "Form"]

FORMS: dict[str, type[Form]] = {
    form.name: form
    for form in (
        DenseForm,
        MaskedForm,
        MixedForm,
        SummedForm,
        HashedRowsForm,
        ScaledRowsForm,
        SharedRowsForm,
        DoubleHashedForm,
        HotRowsForm,
        PooledRowsForm,
        CircularArrayForm,
        ComposedRowsForm,
        CodedForm,
        ClusteredForm,
        TensorTrainForm,
        HashNetworkForm,
    )
}
