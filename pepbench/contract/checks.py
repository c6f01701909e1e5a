"""The rules of the contract, one function each.

A check takes a :class:`~pepbench.contract.candidate.Candidate` and returns if the rule is kept,
raises :class:`~pepbench.harness.promises.BrokenContract` with what is wrong and what to do if it is
not, or :class:`~pepbench.contract.candidate.NotApplicable`. The first line of its docstring is the
rule, as users read it.

That a method does not see test rows needs no check: a :class:`~pepbench.method.Task` has none.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.component import Between, Option, Value
from pepbench.contract.candidate import SHARES, Candidate, DoesNotTrain, Fit, FitSpec, NotApplicable
from pepbench.contract.elsewhere import digest_elsewhere
from pepbench.contract.toy import DIM, every_feature
from pepbench.errors import Infeasible, PlanError
from pepbench.harness.promises import (
    BrokenContract,
    check_count,
    check_export,
    check_notes,
    check_scores,
    check_size,
    check_vectors,
    vectors_of,
)
from pepbench.layout import Floats, Layout
from pepbench.method import Embedding, Model, lookup, to_numpy
from pepbench.quantised import Quantised

Check = Callable[[Candidate], None]

MARGIN = 0.05
"""AUC that interactions must add to first-order weights on the toy."""


def cites_its_source(candidate: Candidate) -> None:
    """Names its source with the year, or is a control."""
    kind = type(candidate.method)
    if kind.family == "controls":
        return
    if kind.year is None or str(kind.year) not in (kind.__doc__ or ""):
        raise BrokenContract(
            f"class {kind.__name__} names no source: set year = …, and give authors, title and "
            'that year in its docstring; a control says family = "controls" instead'
        )


def explains_its_options(candidate: Candidate) -> None:
    """Every option is annotated with what it means."""
    for option in _options_of(candidate):
        if not option.help:
            raise BrokenContract(
                f"option {option.name} has no word on what it means; write "
                f'{option.name}: Annotated[{option.kind.__name__}, …, "what it means"]'
            )


def options_survive_json(candidate: Candidate) -> None:
    """Options written to a record and read again give an equal method."""
    method = candidate.method
    _options_of(candidate)
    read = type(method).from_options(json.loads(json.dumps(method.options())))
    if read != method:
        raise BrokenContract(
            f"{method.options()} were read again as {read.options()}; keep to bool, int, float "
            "and str, and do not change options in __post_init__"
        )


def refuses_options_out_of_range(candidate: Candidate) -> None:
    """A value outside an option's range is refused, naming the option."""
    options = [option for option in _options_of(candidate) if option.range is not None]
    if not options:
        raise NotApplicable("no option has a range")
    for option in options:
        wrong = _out_of_range(option)
        try:
            type(candidate.method).from_options({option.name: wrong})
        except PlanError as error:
            if option.name in str(error):
                continue
        raise BrokenContract(
            f"{option.name}={wrong!r} is not refused with a PlanError that names it; "
            "a __post_init__ of your own must call super().__post_init__()"
        )


def trains(candidate: Candidate) -> None:
    """Fits at budgets from the full table's to a tenth of it, or raises Infeasible."""
    assert candidate.fits


def keeps_within_the_budget(candidate: Candidate) -> None:
    """Has no more parameters than allowed, at every budget."""
    for fit in candidate.fits:
        with _at_budget(fit, "embedding() and fit() must not return more than their budget"):
            check_size(fit.embedding, fit.spec.budget)


def names_its_smallest_size(candidate: Candidate) -> None:
    """Where a budget is too small, Infeasible names the smallest that is not."""
    smallest = 1
    while True:
        try:
            fit = candidate.fit(FitSpec(smallest))
            break
        except Infeasible as error:
            named = _smallest_size_in(str(error))
            # A search may know only at its end that its choice needs more.
            if named <= smallest:
                raise BrokenContract(
                    f"Infeasible refuses {smallest} parameters and names {named} as possible: "
                    f"{error}; name the smallest size that is not refused"
                ) from None
            smallest = named
        except DoesNotTrain as error:
            raise DoesNotTrain(f"{error}; raise Infeasible where a budget is too small") from None
    check_size(fit.embedding, smallest)
    if smallest == 1:
        raise NotApplicable("a budget of one parameter is feasible")
    try:
        candidate.fit(FitSpec(smallest - 1))
    except Infeasible:
        return
    raise BrokenContract(
        f"Infeasible says that {smallest} parameters are the smallest possible size, but "
        f"{smallest - 1} are feasible; name the true one"
    )


def counts_what_it_stores(candidate: Candidate) -> None:
    """Numbers of parameters and bytes are those of the exported arrays."""
    for fit in candidate.fits:
        with _at_budget(fit, "count what export() stores, and store what you count"):
            check_count(fit.embedding, fit.stored)
            if fit.embedding.n_bytes() != fit.stored.n_bytes:
                raise BrokenContract(
                    f"n_bytes() says {fit.embedding.n_bytes()}, the exported arrays take "
                    f"{fit.stored.n_bytes}"
                )


def vectors_have_the_right_shape(candidate: Candidate) -> None:
    """Ids (B, F) give finite vectors (B, F, dim)."""
    for fit in candidate.fits:
        ids = fit.every_feature
        with _at_budget(fit, "forward() maps ids (B, F) to finite vectors (B, F, self.dim)"):
            check_vectors(vectors_of(fit.fitted, ids), (*ids.shape, fit.embedding.dim))


def scores_are_finite(candidate: Candidate) -> None:
    """Validation AUC and log loss are finite numbers."""
    for fit in candidate.fits:
        with _at_budget(fit, "return the scores of Task.train or Task.validate"):
            check_scores(fit.fitted)


def notes_fit_a_record(candidate: Candidate) -> None:
    """Notes are finite numbers, texts or truths."""
    for fit in candidate.fits:
        with _at_budget(fit, "convert tensors and arrays with float(), int() or str()"):
            check_notes(fit.fitted)


def export_reproduces_the_vectors(candidate: Candidate) -> None:
    """The exported table gives the trained vectors, of every feature."""
    for fit in candidate.fits:
        ids = fit.every_feature
        with _at_budget(fit, "Layout.lookup() must compute what forward() does, to 1e-6"):
            vectors, exported = vectors_of(fit.fitted, ids), _looked_up(fit.stored, ids)
            if vectors.shape != exported.shape:
                raise BrokenContract(
                    f"the exported vectors have shape {exported.shape}, the trained ones "
                    f"{vectors.shape}"
                )
            check_export(vectors, exported, rtol=0.0, atol=1e-6)


def can_be_rounded(candidate: Candidate) -> None:
    """The exported numbers can be exchanged, as the suffixes +fp16, +int8 and +int4 do."""
    for fit in candidate.fits:
        stored, ids = _unrounded(fit), fit.every_feature
        halves = {name: array.astype(np.float16) for name, array in stored.values().items()}
        wide = {name: array.astype(np.float32) for name, array in halves.items()}
        exact, rounded = _looked_up(stored, ids), _exchanged(stored, wide).lookup(ids)
        if not np.abs(rounded - exact).max() <= 0.02 * np.abs(exact).max():
            raise BrokenContract(
                "rounded to 16 bits, the exported vectors are others; with_values() must put each "
                "array of values() in its place"
            )


def serves_from_counted_values_alone(candidate: Candidate) -> None:
    """Nothing but the counted numbers tells the exported vectors apart."""
    for fit in candidate.fits:
        stored, ids = _unrounded(fit), fit.every_feature
        zeros = {name: np.zeros_like(array) for name, array in stored.values().items()}
        vectors = _exchanged(stored, zeros).lookup(ids).reshape(ids.size, -1)
        if not np.array_equal(vectors, np.broadcast_to(vectors[0], vectors.shape)):
            raise BrokenContract(
                "with zeros for all of values() the exported vectors still differ: lookup() uses "
                "trained numbers that are not counted; return them from values(), and let "
                "with_values() exchange them"
            )


def as_table_agrees_with_forward(candidate: Candidate) -> None:
    """Rows that as_table() offers for a lookup are the vectors of forward()."""
    ids = every_feature(candidate.toy.fields)
    embedding = candidate.usual.embedding
    with torch.no_grad():
        view = embedding.as_table(torch.from_numpy(ids))
        if view is None:
            raise NotApplicable("the embedding has no table whose rows are its vectors")
        rows = to_numpy(lookup(view.table, view.ids))
    if not np.array_equal(rows, vectors_of(candidate.usual.fitted, ids)):
        raise BrokenContract(
            "as_table() leads to other vectors than forward(): some backbones read the one, some "
            "the other; return None from as_table(), or compute forward() from it"
        )


def works_with_every_backbone(candidate: Candidate) -> None:
    """Every backbone takes its vectors, and gives a finite loss that can be differentiated."""
    catalog = Catalog()
    for name in catalog.entries("backbone"):
        backbone = cast(Backbone, catalog.load("backbone", name)())
        task = candidate.toy.task(backbone=backbone)
        model = task.model(candidate.usual.embedding)
        try:
            loss = task.loss(model, next(iter(task.batches("train"))))
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BrokenContract(
                f"backbone {name} does not work with its vectors: {error}; forward() must return "
                "a new tensor (B, F, self.dim)"
            ) from error
        model.zero_grad()
        if not torch.isfinite(loss):
            raise BrokenContract(f"the loss of backbone {name} on its vectors is not finite")


def same_seed_gives_the_same_bits(candidate: Candidate) -> None:
    """Two fits with the same seed are equal to the last bit."""
    if candidate.usual.digest() != candidate.repeated.digest():
        raise BrokenContract(
            "two fits with the same seed differ; draw from task.rng or torch's global generator, "
            "which the trial seeds, and from nothing else"
        )


def another_process_gives_the_same_bits(candidate: Candidate) -> None:
    """A fresh process with another PYTHONHASHSEED gives the same bits."""
    if candidate.usual.digest() != digest_elsewhere(candidate):
        raise BrokenContract(
            "another process gives another result from the same seed; do not use hash(), the "
            "order of sets, id() or anything of the machine"
        )


def one_search_for_many_budgets_changes_nothing(candidate: Candidate) -> None:
    """What one search gives several budgets is what searches of their own give."""
    if not candidate.method.shares_search:
        return
    alone = []
    for share in SHARES[1:]:
        with suppress(Infeasible):
            alone.append(candidate.fit(FitSpec(int(candidate.toy.full_parameters * share))))
    shared = candidate.fit_many([fit.spec for fit in alone]) if alone else []
    if shared != [fit.digest() for fit in alone]:
        raise BrokenContract(
            "fit_many() gives other results than fit() at the same budgets and seed; train and "
            "yield each within `with task.aside():`, and copy what its training changes"
        )


def state_survives_a_round_trip(candidate: Candidate) -> None:
    """The state restores what the model was, whatever was trained since."""
    fit = candidate.repeated
    model, task = fit.fitted.model, fit.task
    if task.validate(model) != fit.fitted.validation:
        raise BrokenContract(
            "the returned scores are not those of the returned model; validate it last"
        )
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for step in task.steps(model):
        if step.number == task.steps_per_epoch:
            break
    model.load_state_dict(state)
    if task.validate(model) != fit.fitted.validation:
        raise BrokenContract(
            "the model's state_dict does not restore it, so that training cannot return to its "
            "best epoch; register what forward() depends on as parameters or buffers"
        )


def learns_interactions(candidate: Candidate) -> None:
    """Its vectors add to what first-order weights learn of planted interactions."""
    fit = candidate.full
    without = Model(NoVectors(fit.embedding.dim), fit.fitted.model.backbone)
    floor = max(fit.task.validate(without).auc, 0.5)
    reached = fit.fitted.validation.auc
    if not reached > floor + MARGIN:
        raise BrokenContract(
            f"validation AUC {reached:.3f} with its vectors, {floor:.3f} with zeros instead, where "
            f"the full table gains more than {MARGIN:g}: does training reach all its parameters?"
        )


def gradients_are_exact(candidate: Candidate) -> None:
    """Gradients equal finite differences, in double precision."""
    # A copy has no hooks: a mask on gradients is meant to make them differ.
    new = candidate.new_embedding(candidate.toy.full_parameters, seed=2)
    embedding = copy.deepcopy(new).double()
    ids = torch.from_numpy(candidate.toy.train.ids[:3].astype(np.int64))
    trained = [parameter for parameter in embedding.parameters() if parameter.requires_grad]
    if not trained:
        raise NotApplicable("no parameter is trained")

    def vectors(*_: Tensor) -> Tensor:
        result: Tensor = embedding(ids)
        return result

    try:
        torch.autograd.gradcheck(vectors, trained)
    except RuntimeError as error:
        raise BrokenContract(
            f"gradients are not those of forward(): {' '.join(str(error).split())[:200]}; "
            "a hand-written backward, detach() or in-place work is the usual cause"
        ) from error


def starts_with_the_variance_of_the_full_table(candidate: Candidate) -> None:
    """Initial vectors vary as much as those of the uncompressed table, within 20 %."""
    n_features = candidate.toy.fields.n_features
    expected = 2.0 / (n_features + DIM)
    for fit in candidate.fits[:2]:
        vectors = [_initial_vectors(candidate, fit.spec.budget, seed) for seed in range(8)]
        # Entries that do not exist are exactly zero.
        found = float(np.mean([each[each != 0].var() for each in vectors]))
        if not abs(found - expected) <= 0.2 * expected:
            raise BrokenContract(
                f"at a budget of {fit.spec.budget} parameters, initial vectors have variance "
                f"{found:.2g}, those of the full table 2 / (N + D) = {expected:.2g}; scale them, "
                "for example by xavier_uniform(rows, width, fan=N), or initial scales are "
                "compared rather than methods"
            )


def takes_no_more_steps_than_it_says(candidate: Candidate) -> None:
    """No fit takes more training steps than most_steps() says."""
    for fit in candidate.fits:
        size = fit.task.settings.batch_size
        most = candidate.method.most_steps(fit.task.steps_per_epoch, fit.spec.epochs)
        if fit.task.samples > most * size:
            raise BrokenContract(
                f"a fit took {fit.task.samples / size:.0f} steps, most_steps() says {most}; "
                "count every search and training there, as --dry-run does its estimate from it"
            )


CHECKS: tuple[Check, ...] = (
    cites_its_source,
    explains_its_options,
    options_survive_json,
    refuses_options_out_of_range,
    trains,
    keeps_within_the_budget,
    names_its_smallest_size,
    counts_what_it_stores,
    vectors_have_the_right_shape,
    scores_are_finite,
    notes_fit_a_record,
    export_reproduces_the_vectors,
    can_be_rounded,
    serves_from_counted_values_alone,
    as_table_agrees_with_forward,
    works_with_every_backbone,
    gradients_are_exact,
    starts_with_the_variance_of_the_full_table,
    takes_no_more_steps_than_it_says,
    learns_interactions,
    same_seed_gives_the_same_bits,
    one_search_for_many_budgets_changes_nothing,
    state_survives_a_round_trip,
    another_process_gives_the_same_bits,
)
"""All rules, the quickest first."""


class NoVectors(Embedding):
    """Zeros in place of vectors: what is left of a model is first-order."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, ids: Tensor) -> Tensor:
        """Zeros (B, F, dim)."""
        return torch.zeros(*ids.shape, self.dim)

    def export(self) -> Layout:
        """Not stored: it is a means of measurement."""
        raise NotImplementedError


@contextmanager
def _at_budget(fit: Fit, remedy: str) -> Iterator[None]:
    try:
        yield
    except BrokenContract as error:
        raise BrokenContract(
            f"at a budget of {fit.spec.budget} parameters, {error}; {remedy}"
        ) from None


def _initial_vectors(candidate: Candidate, budget: int, seed: int) -> Floats:
    """Vectors of all features before training, one each: (N, dim)."""
    fields = candidate.toy.fields
    ids = every_feature(fields)
    embedding = candidate.new_embedding(budget, seed)
    with torch.no_grad():
        vectors = to_numpy(embedding(torch.from_numpy(ids)))
    once = np.arange(len(ids))[:, None] < np.asarray(fields.cardinalities)
    return np.asarray(vectors[once])


def _options_of(candidate: Candidate) -> tuple[Option, ...]:
    options = candidate.method.described_options()
    if not options:
        raise NotApplicable("the method has no options")
    return options


def _out_of_range(option: Option) -> Value:
    if isinstance(option.range, Between):
        _, high = option.range.allow or (option.range.low, option.range.high)
        return option.kind(2 * abs(high) + 1)  # type: ignore[no-any-return]
    return "no such choice" if option.kind is str else 10**12


def _smallest_size_in(message: str) -> int:
    found = re.search(r"smallest possible is ([\d,]+)", message)
    if found is None:
        raise BrokenContract(
            f'Infeasible does not name the smallest size; write "smallest possible is N '
            f'parameters" into its message, which is: {message}'
        )
    return int(found[1].replace(",", ""))


def _unrounded(fit: Fit) -> Layout:
    if isinstance(fit.stored, Quantised):
        raise NotApplicable("already rounded; test the method without its suffix")
    return fit.stored


def _looked_up(stored: Layout, ids: NDArray[np.int64]) -> Floats:
    try:
        return stored.lookup(ids)
    except Exception as error:
        raise BrokenContract(
            f"{type(stored).__name__}.lookup() does not work: {error}; values(), structure() and "
            "constants() must have the names that its form reads, or override lookup()"
        ) from error


def _exchanged(stored: Layout, values: dict[str, Floats]) -> Layout:
    """``stored`` with other numbers, tried out on one lookup."""
    try:
        exchanged = stored.with_values(values)
        exchanged.lookup(np.zeros((1, 1), dtype=np.int64))
    except Exception as error:
        raise BrokenContract(
            f"{type(stored).__name__}.with_values() does not work: {error}; make the layout a "
            "frozen dataclass whose values() are fields of the same names, or override it"
        ) from error
    return exchanged
