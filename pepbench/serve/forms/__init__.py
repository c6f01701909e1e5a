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
    MultiplexedRowsForm,
    PooledRowsForm,
    ScaledRowsForm,
    SharedRowsForm,
)
from pepbench.serve.forms.masked import MaskedForm
from pepbench.serve.forms.tables import BlockRowsForm, DenseForm, MixedForm, SummedForm

__all__ = ["FORMS", "Form"]

FORMS: dict[str, type[Form]] = {
    form.name: form
    for form in (
        DenseForm,
        MaskedForm,
        MixedForm,
        SummedForm,
        BlockRowsForm,
        HashedRowsForm,
        ScaledRowsForm,
        SharedRowsForm,
        DoubleHashedForm,
        HotRowsForm,
        PooledRowsForm,
        MultiplexedRowsForm,
        CircularArrayForm,
        ComposedRowsForm,
        CodedForm,
        ClusteredForm,
        TensorTrainForm,
        HashNetworkForm,
    )
}
