"""Thresholds for features, and an evolutionary search over the widths of fields.

The module is long because the method has three parts: a supernet, an evolution, a last training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Embedding,
    Fields,
    Fitted,
    MaskedTable,
    Method,
    Model,
    RowTable,
    Task,
    largest_entries,
    lookup_rows,
    of_fields,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.layout import Dense

from .search import BestEpoch, LastStart, train_under_mask

Widths = NDArray[np.int64]
"""Shape (F,): one individual, the width of each field."""


@dataclass(frozen=True)
class OptEmbed(Method):
    """Drops weak features by learnt thresholds, then evolves how wide each field's vectors are.

    Lyu, Tang, Zhu, Guo, Zhang, Tang, Liu, "OptEmbed: Learning Optimal Embedding Table for
    Click-through Rate Prediction", CIKM 2022, doi 10.1145/3511808.3557411, arXiv 2208.04482. In the
    supernet the vector of a feature x of field f is (eqs. 8 and 16)::

        v_x = e_x ⊙ S(‖e_x‖₁ − t_f) ⊙ m_d,   S(u) = 1 if u > 0 else 0,   m_d = (1, …, 1, 0, …, 0)

    with a width d ∈ {1, …, D} drawn anew for each vector in each step, and D for validation. The
    gradient of S is that of the long-tailed estimator (eq. 10; Liu et al., ICLR 2020), which is
    zero for norms more than 1 away from the threshold, and α Σ_f exp(−t_f) in the loss (eqs. 13 and
    14) raises the thresholds, which learn by plain gradient descent. The supernet of the best
    validation epoch is taken. Then widths evolve on its weights by validation AUC (algorithm 1): of
    the best ``parents`` so far, ``mutants`` get each width replaced with probability ``mutation``,
    and ``crossings`` pairs are cut at a field. Features kept × prefix widths make a mask, and what
    is under it, the count of the method, is trained again (eq. 17), from its initial values.

    The paper has no budget. Here individuals are narrowed, or widened, a random field at a time,
    until they fill it, and where the thresholds leave more features than it holds at
    ``least_width`` columns each, those of the smallest ‖e‖₁ − t_f go too, so any budget is
    feasible. Less is used where the thresholds leave too few features to fill it at D columns,
    or where one more column of any field is too large for what is left.
    The released thresholds start at 0 and have rates of 3e-5 to 1e-4 (tuned in 1e-4 … 1e-2): they
    hardly move, and what they drop are features of small norms. Other
    than in the released code, mutants are copies (there they overwrite their parents) and may be 1
    wide (there 2 and more), crossings are cut among the F fields (there at up to D), a field counts
    its width (there one column less during evolution), and the supernet is trained for a fixed
    number of epochs (there until the validation AUC falls once, 30 at most). The paper evolves 30
    generations. Evolution and early stopping see the same validation rows. The defaults of
    ``least_width`` and ``search_epochs`` are round numbers, not tuned on any data set.
    """

    name = "optembed"
    family = "search"
    year = 2022
    version = 2

    alpha: Annotated[
        float,
        Between(1e-6, 1e-4, log=True, allow=(0.0, 1.0)),
        "weight α of the pull that raises the thresholds",
    ] = 1e-5
    threshold_rate: Annotated[
        float,
        Between(1e-4, 1e-2, log=True, allow=(0.0, 1000.0)),
        "learning rate of the thresholds, by plain gradient descent",
    ] = 1e-4
    least_width: Annotated[
        int,
        Between(1, 16, log=True, allow=(1, 10_000)),
        "columns that the budget must hold for every feature kept (at most D)",
    ] = 4
    search_epochs: Annotated[
        int, Between(1, 1000, tuned=False), "epochs of the supernet's training"
    ] = 10
    max_steps: Annotated[
        int, Between(1, 10**9, tuned=False), "most steps of the supernet's training"
    ] = 20_000
    generations: Annotated[
        int,
        Between(1, 1000, tuned=False),
        "rounds of evolution, each a pass over the validation rows per new individual (paper: 30)",
    ] = 10
    mutants: Annotated[int, Between(0, 1000, tuned=False), "mutants in a generation"] = 10
    crossings: Annotated[int, Between(1, 1000, tuned=False), "crossed pairs in a generation"] = 10
    parents: Annotated[
        int, Between(2, 1000, tuned=False), "best individuals that may have offspring"
    ] = 15
    mutation: Annotated[
        float, Between(0.0, 1.0, tuned=False), "probability that a mutant's width changes"
    ] = 0.1
    start: LastStart = "initial"

    def unread(self) -> tuple[str, ...]:
        """Nothing raises thresholds that do not move."""
        return () if self.threshold_rate else ("alpha",)

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Supernet, evolution and the last training.

        A pass over validation rows counts as an eighth of an epoch, as in a split of 8:1:1.
        """
        supernet = min(self.search_epochs * steps_per_epoch, self.max_steps)
        individuals = self.generations * (self.mutants + self.crossings)
        return supernet + individuals * -(-steps_per_epoch // 8) + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train the supernet, drop features, evolve widths, train what is left."""
        return self.selected(task, *self.searched(task), budget)

    @property
    def shares_search(self) -> bool:
        """The supernet does not depend on the budget."""
        return True

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Train one supernet; drop features, evolve and train for each budget."""
        found = self.searched(task)
        for budget in budgets:
            with task.aside():
                yield self.selected(task, *copy.deepcopy(found), budget)

    def searched(self, task: Task) -> tuple[Tensor, Model, int]:
        """Initial values (N, D), the model with the supernet, and the number of its steps."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        model = task.model(Supernet(initial, task.fields, self.alpha))
        with task.phase("search"):
            return initial, model, self.train_supernet(task, model)

    def selected(
        self, task: Task, initial: Tensor, model: Model, steps: int, budget: int
    ) -> Fitted:
        """Choose features and widths of a supernet, and train what is under their mask."""
        fields, dim = task.fields, task.dim
        supernet = cast(Supernet, model.embedding)
        with task.phase("search"):
            room = max(budget // min(self.least_width, dim), 1)
            kept = kept_features(supernet.margins(), room)
            table = supernet.table.detach()

            def mask_of(widths: Widths) -> Tensor:
                prefixes = prefix_mask(widths, dim).to(kept.device)
                return kept[:, None] & prefixes[supernet.field_of_feature]

            def score(widths: Widths) -> float:
                return task.score(Model(MaskedTable(table, mask_of(widths)), model.backbone))

            counts = np.bincount(
                fields.field_of_feature, weights=to_numpy(kept), minlength=fields.n_fields
            ).astype(np.int64)
            widths = self.evolve(score, counts, dim, budget, task.rng)
            mask = mask_of(widths)
        fitted = train_under_mask(task, self.start, initial, table, mask, model.backbone)
        fitted.model.embedding.unused_budget = (
            "the thresholds leave fewer features"
            if counts.sum() * dim < budget
            else "one more column of any field exceeds it"
        )
        return fitted.with_notes(
            search_steps=steps,
            features_above_threshold=int((supernet.margins() > 0).sum()),
            features_kept=int(kept.sum()),
            widths=" ".join(map(str, widths.tolist())),
        ).with_budget_note(task, budget)

    def train_supernet(self, task: Task, model: Model) -> int:
        """Train vectors and thresholds at random widths, up to the best epoch at width D.

        Returns the number of steps.
        """
        supernet = cast(Supernet, model.embedding)
        thresholds = supernet.thresholds.requires_grad_(False)
        optimizer = task.optimizer(model)
        # The plan's optimizer leaves them alone; a step leaves their gradient.
        descent = torch.optim.SGD([thresholds.requires_grad_(True)], lr=self.threshold_rate)
        training, best_epoch = task.steps(model, optimizer), BestEpoch(task, model)
        steps = min(self.search_epochs * task.steps_per_epoch, self.max_steps)
        for step in range(1, steps + 1):
            next(training)
            descent.step()
            descent.zero_grad()
            task.report_size(step, supernet.entries_left)
            if best_epoch.is_due(step, steps):
                task.flush(optimizer)
                best_epoch.see()
        best_epoch.restore()
        return steps

    def evolve(
        self,
        score: Callable[[Widths], float],
        counts: NDArray[np.int64],
        dim: int,
        budget: int,
        rng: np.random.Generator,
    ) -> Widths:
        """The widths of highest score that evolution finds, Σ_f counts_f d_f ≤ budget.

        Parameters
        ----------
        score
            The validation AUC of an individual; called once for each.
        counts
            Shape (F,): features kept in each field, together at most ``budget``.
        dim, budget, rng
            D, B, and the random generator.
        """
        scores: dict[tuple[int, ...], float] = {}
        offspring = [
            random_widths(len(counts), dim, rng) for _ in range(self.mutants + self.crossings)
        ]
        best: list[Widths] = []
        for generation in range(self.generations):
            if generation:
                offspring = [
                    mutated(best[rng.integers(len(best))], dim, self.mutation, rng)
                    for _ in range(self.mutants)
                ] + [
                    crossed(best[rng.integers(len(best))], best[rng.integers(len(best))], rng)
                    for _ in range(self.crossings)
                ]
            for child in offspring:
                individual = filled(child, counts, dim, budget, rng)
                key = tuple(individual.tolist())
                if key not in scores:
                    scores[key] = score(individual)
            ranking = sorted(scores, key=lambda key: -scores[key])
            best = [np.array(key, dtype=np.int64) for key in ranking[: self.parents]]
        return best[0]


def random_widths(n_fields: int, dim: int, rng: np.random.Generator) -> Widths:
    """A random individual, each width uniform on 1 … D."""
    return rng.integers(1, dim + 1, n_fields)


def mutated(parent: Widths, dim: int, probability: float, rng: np.random.Generator) -> Widths:
    """A copy in which each width is drawn anew with ``probability``."""
    changes = rng.random(len(parent)) < probability
    return np.where(changes, random_widths(len(parent), dim, rng), parent)


def crossed(mother: Widths, father: Widths, rng: np.random.Generator) -> Widths:
    """The mother's widths up to a random field, the father's from there on."""
    cut = int(rng.integers(1, max(len(mother), 2)))
    return np.concatenate([mother[:cut], father[cut:]])


def filled(
    widths: Widths, counts: NDArray[np.int64], dim: int, budget: int, rng: np.random.Generator
) -> Widths:
    """Narrow random fields until Σ_f counts_f d_f ≤ budget, then widen some that have room.

    One column at a time, between 1 and ``dim``. Fields without features get width 1, so that
    individuals with the same effect are equal.

    >>> filled(np.array([3, 2]), np.array([5, 0]), 4, 11, np.random.default_rng(0)).tolist()
    [2, 1]
    >>> filled(np.array([1, 1]), np.array([5, 2]), 2, 14, np.random.default_rng(0)).tolist()
    [2, 2]
    """
    widths = np.where(counts > 0, widths, 1)
    while int(counts @ widths) > budget:
        widths[rng.choice(np.flatnonzero(widths > 1))] -= 1
    while True:
        room = budget - int(counts @ widths)
        fits = np.flatnonzero((counts > 0) & (counts <= room) & (widths < dim))
        if len(fits) == 0:
            return widths
        widths[rng.choice(fits)] += 1


def prefix_mask(widths: Widths, dim: int) -> Tensor:
    """m_d of every field: (F,) → (F, D), boolean.

    >>> prefix_mask(np.array([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(dim) < torch.from_numpy(widths)[:, None]


def kept_features(margins: Tensor, room: int) -> Tensor:
    """Mask (N,) of the features above their threshold, of the largest margin if over ``room``.

    >>> kept_features(torch.tensor([0.3, -0.1, 0.2]), 1).tolist()
    [True, False, False]
    """
    return largest_entries(margins, min(room, int((margins > 0).sum())))


class LongTailStep(torch.autograd.Function):
    """S(u) = 1 if u > 0 else 0, with the long-tailed surrogate for its gradient.

    2 − 4 |u| for |u| ≤ 0.4, then 0.4 up to |u| = 1, and 0 beyond: Xu & Cheung 2019; Liu et al.,
    "Dynamic Sparse Training", ICLR 2020, arXiv 2005.06870, eq. 3.
    """

    @staticmethod
    def forward(ctx, inputs: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """1 where the input is positive."""
        ctx.save_for_backward(inputs)
        return (inputs > 0).to(inputs.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """The surrogate."""
        distance = ctx.saved_tensors[0].abs()
        near = torch.where(distance <= 0.4, 2.0 - 4.0 * distance, 0.4)
        return gradient * torch.where(distance <= 1.0, near, 0.0)


class Supernet(Embedding):
    """The table during the search: v_x = e_x ⊙ S(‖e_x‖₁ − t_f) ⊙ m_d.

    Parameters
    ----------
    values
        Shape (N, D): initial e.
    fields
        Which feature belongs to which field.
    alpha
        Weight of the pull on the thresholds.
    """

    field_of_feature: Tensor

    def __init__(self, values: Tensor, fields: Fields, alpha: float) -> None:
        super().__init__()
        self.dim = values.shape[1]
        self.alpha = alpha
        self.table = RowTable(values.detach().clone())
        self.thresholds = nn.Parameter(values.new_zeros(fields.n_fields))
        self.register_buffer("field_of_feature", torch.from_numpy(fields.field_of_feature))

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D); cut at random widths in training."""
        vectors = lookup_rows(self.table, ids)
        thresholds = of_fields(self.thresholds, ids, self.field_of_feature)
        gates: Tensor = LongTailStep.apply(vectors.abs().sum(dim=2) - thresholds)  # type: ignore[no-untyped-call]
        if self.training:
            widths = torch.randint(1, self.dim + 1, ids.shape, device=ids.device)
            vectors = vectors * (torch.arange(self.dim, device=ids.device) < widths[..., None])
        return vectors * gates[..., None]

    def penalty(self) -> Tensor:
        """α Σ_f exp(−t_f)."""
        return self.alpha * torch.exp(-self.thresholds).sum()

    def margins(self) -> Tensor:
        """‖e_x‖₁ − t_f of all features, (N,), without gradient."""
        norms = self.table.detach().abs().sum(dim=1)
        return norms - self.thresholds.detach()[self.field_of_feature]

    def entries_left(self) -> int:
        """All D entries of the features above their threshold."""
        return self.dim * int((self.margins() > 0).sum())

    def n_parameters(self) -> int:
        """Of the table; the thresholds are multiplied into it."""
        return self.table.numel()

    def export(self) -> Dense:
        """The table at width D with the gates multiplied into it."""
        return Dense(to_numpy(self.table * (self.margins() > 0)[:, None]))
