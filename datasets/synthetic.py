"""Rows with a known truth: a factorisation machine with a known width of each feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from pepbench.component import Between
from pepbench.data.dataset import Block, Dataset, Truth
from pepbench.errors import PlanError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK_ROWS = 16_384
"""Rows drawn by one generator. Part of the definition: another size gives other rows."""
FIELD_GROWTH = 1.5
"""Each field has this many times the features of the one before."""
AUC_ROWS = 2**20
"""The Bayes AUC is computed on at most this many rows, which bounds the memory."""

LARGEST = {("rows", "fields"): 10**11, ("features", "dim"): 2**30, ("fields", "dim"): 2**16}
"""Bounds of products: values on disk, true vectors, and vectors of one row, both in memory."""

MODEL_STREAM, ROW_STREAM = 0, 1


@dataclass(frozen=True)
class Model:
    """A factorisation machine with K features over all fields.

    logit = bias + Σ_i weights[x_i] + Σ_{i<j} ⟨vectors[x_i], vectors[x_j]⟩ for features x_1 … x_F.
    """

    sizes: Integers
    """Shape (F,): features of each field."""
    popularity: tuple[Floats, ...]
    """For each field, the probability of each of its features."""
    widths: Integers
    """Shape (K,): number of dimensions in which the feature's vector is not zero."""
    vectors: Floats
    """Shape (K, dim)."""
    weights: Floats
    """Shape (K,)."""
    bias: float

    @property
    def offsets(self) -> Integers:
        """Shape (F,): first feature of each field."""
        return np.cumsum(self.sizes) - self.sizes

    def logits(self, codes: Integers) -> Floats:
        """True logits of rows of codes within fields: (n, F) → (n,)."""
        ids = codes + self.offsets
        vectors = self.vectors[ids]
        total = vectors.sum(axis=1)
        pairs = 0.5 * ((total**2).sum(axis=1) - (vectors**2).sum(axis=(1, 2)))
        return np.asarray(self.bias + self.weights[ids].sum(axis=1) + pairs, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Widths(Mapping[str, int]):
    """Width by raw value ``0``, ``1``, … of one field; a dictionary would take far more memory."""

    widths: Integers
    """Shape (cardinality,)."""

    def __getitem__(self, value: str) -> int:
        return int(self.widths[int(value)])

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self.widths)))

    def __len__(self) -> int:
        return len(self.widths)


def field_sizes(n_features: int, n_fields: int) -> Integers:
    """Split features over fields of growing size, at least two each: shape (F,)."""
    shares = FIELD_GROWTH ** np.arange(n_fields)
    spare = n_features - 2 * n_fields
    ends = np.rint(np.cumsum(shares) / shares.sum() * spare).astype(np.int64)
    return np.asarray(2 + np.diff(ends, prepend=0), dtype=np.int64)


def zipf_popularity(size: int, exponent: float) -> Floats:
    """Probabilities ∝ rank^-exponent: shape (size,)."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def width_levels(dim: int) -> Integers:
    """Possible widths 0, 1, 2, 4, … up to ``dim``.

    >>> width_levels(6).tolist()
    [0, 1, 2, 4, 6]
    """
    powers = 2 ** np.arange(int(np.log2(dim)) + 1)
    return np.unique(np.concatenate([[0], powers, [dim]]))


def draw_widths(size: int, dim: int, alignment: float, rng: np.random.Generator) -> Integers:
    """Widths of one field's features, most popular first: all levels equally often.

    Features are ranked by a score that correlates with their popularity's normal score by
    ``alignment``; the widest vectors go to the highest scores.
    """
    normal_scores = ndtri((np.arange(size, 0, -1) - 0.5) / size)
    noise = rng.standard_normal(size)
    scores = alignment * normal_scores + np.sqrt(1 - alignment**2) * noise
    levels = width_levels(dim)
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return np.asarray(levels[ranks * len(levels) // size], dtype=np.int64)


def draw_model(options: Synthetic) -> Model:
    """Draw the truth, scaled exactly to the variances in ``options``.

    Fields are independent, so with field means m_i of the vectors the logit splits into
    uncorrelated parts: a main effect per feature, and Σ_{i<j} ⟨v_i − m_i, v_j − m_j⟩, of variance
    Σ_{i<j} tr(C_i C_j) for the fields' covariances C_i. Multiplying out moves the terms with
    m_i into the first-order weights and the bias, and leaves the vectors (and widths) as drawn.
    """
    rng = np.random.default_rng([options.seed, MODEL_STREAM])
    sizes = field_sizes(options.features, options.fields)
    popularity = tuple(zipf_popularity(int(size), options.zipf) for size in sizes)
    widths = np.concatenate(
        [draw_widths(int(size), options.dim, options.alignment, rng) for size in sizes]
    )
    vectors = rng.standard_normal((options.features, options.dim))
    vectors[np.arange(options.dim) >= widths[:, None]] = 0.0
    effects = rng.standard_normal(options.features)

    parts = [slice(end - size, end) for size, end in zip(sizes, np.cumsum(sizes), strict=True)]
    covariances = np.stack(
        [
            np.cov(vectors[part].T, aweights=p, ddof=0)
            for part, p in zip(parts, popularity, strict=True)
        ]
    ).reshape(options.fields, options.dim, options.dim)
    total = covariances.sum(axis=0)
    pair_variance = 0.5 * ((total**2).sum() - (covariances**2).sum())
    variance = options.signal**2
    vectors *= (options.interaction * variance / pair_variance) ** 0.25

    for part, p in zip(parts, popularity, strict=True):
        effects[part] -= p @ effects[part]
    main_variance = sum(p @ effects[part] ** 2 for part, p in zip(parts, popularity, strict=True))
    effects *= np.sqrt((1 - options.interaction) * variance / main_variance)

    means = np.stack([p @ vectors[part] for part, p in zip(parts, popularity, strict=True)])
    others = means.sum(axis=0) - means
    weights = effects
    for part, of_others in zip(parts, others, strict=True):
        weights[part] -= (vectors[part] * of_others).sum(axis=1)
    bias = 0.5 * float((means * others).sum())
    return Model(sizes, popularity, widths, vectors, weights, bias)


def bayes_auc(probabilities: Floats) -> float:
    """Expected AUC of the true probabilities over all draws of the labels.

    Σ_{i≠j} p_i (1 − p_j) ([p_i > p_j] + [p_i = p_j] / 2) / Σ_{i≠j} p_i (1 − p_j), in O(n log n).

    Parameters
    ----------
    probabilities
        Shape (n,): the probability of label 1 in each row.

    Examples
    --------
    >>> bayes_auc(np.array([1.0, 0.0])), bayes_auc(np.array([0.3, 0.3]))
    (1.0, 0.5)
    """
    values, group, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    own = values * (1 - values) * counts
    positives = np.bincount(group, probabilities)
    negatives = counts - positives
    below = np.cumsum(negatives) - negatives
    won = (positives * (below + 0.5 * negatives)).sum() - 0.5 * own.sum()
    pairs = positives.sum() * negatives.sum() - own.sum()
    return float(won / pairs)


@dataclass(frozen=True)
class Synthetic(Dataset):
    """Zipf-distributed features, and labels from a factorisation machine with known widths.

    Each feature has a true width w from {0, 1, 2, 4, …, dim}: its vector is normal in the first w
    dimensions and zero beyond. So it can be measured whether a method finds the sizes, and how
    far it is from the best possible (Bayes) AUC. Values of a field are named by their popularity:
    ``0`` is the most frequent. The first rows do not depend on the number of rows, nor does the
    memory needed to generate them, which grows with ``features`` × ``dim``.

    With the defaults, models differ clearly, and the widest one is learnt in seconds: an FM of
    width 0, 1, 2, 4, 8, 16 (Adam 1e-3, batch 1024, seed 0) reaches a test AUC of 0.783, 0.789,
    0.842, 0.863, 0.871, 0.874, Bayes 0.891. With 2,000 features, zipf=1.1, signal=1.5 and
    interaction=0.7 the widest ends 0.08 short of Bayes.
    """

    name = "synthetic"
    title = "Synthetic rows with planted widths"
    licence = "none: generated on this machine"
    citation = "generated by pepbench"
    url = "https://arxiv.org/abs/2101.07577"
    generated: ClassVar[bool] = True

    rows: Annotated[int, Between(10, 2**40, tuned=False), "number of rows"] = 60_000
    fields: Annotated[int, Between(2, 1_000, tuned=False), "number of fields"] = 8
    features: Annotated[int, Between(4, 10**8, tuned=False), "features over all fields"] = 500
    zipf: Annotated[float, Between(0.0, 10.0, tuned=False), "exponent of the popularity"] = 1.3
    dim: Annotated[int, Between(1, 1_024, tuned=False), "largest true width"] = 16
    alignment: Annotated[
        float, Between(0.0, 1.0, tuned=False), "how closely true width follows popularity"
    ] = 0.5
    signal: Annotated[
        float, Between(0.01, 100.0, tuned=False), "standard deviation of the logit"
    ] = 2.5
    interaction: Annotated[
        float,
        Between(0.0, 1.0, tuned=False),
        "share of the logit's variance due to pairs of features",
    ] = 0.5
    seed: Annotated[int, Between(0, 2**32 - 1, tuned=False), "seed of truth and rows"] = 0

    def __post_init__(self) -> None:
        """Refuse fewer than two features in a field, and sizes that no machine holds."""
        super().__post_init__()
        if self.features < 2 * self.fields:
            raise PlanError(
                f"dataset synthetic: features={self.features} is too few for fields={self.fields}; "
                f"at least {2 * self.fields}"
            )
        for pair, most in LARGEST.items():
            size = getattr(self, pair[0]) * getattr(self, pair[1])
            if size > most:
                raise PlanError(
                    f"dataset synthetic: {pair[0]} times {pair[1]} is {size:,}, at most {most:,} "
                    "is allowed; lower one of them"
                )

    @cached_property
    def model(self) -> Model:
        """The true model."""
        return draw_model(self)

    def draws(self) -> Iterator[tuple[Integers, Floats, Floats]]:
        """Yield for each block codes (n, F), true probabilities (n,), and labels (n,)."""
        cumulated = [np.cumsum(p) for p in self.model.popularity]
        for block, start in enumerate(range(0, self.rows, BLOCK_ROWS)):
            rng = np.random.default_rng([self.seed, ROW_STREAM, block])
            uniform = rng.random((min(BLOCK_ROWS, self.rows - start), self.fields + 1))
            codes = np.column_stack(
                [
                    np.searchsorted(ends[:-1], uniform[:, i], side="right")
                    for i, ends in enumerate(cumulated)
                ]
            )
            probabilities = expit(self.model.logits(codes))
            yield codes, probabilities, (uniform[:, -1] < probabilities).astype(np.uint8)

    def blocks(self, source: Path | None) -> Iterator[Block]:  # noqa: ARG002
        """Yield the generated rows."""
        names = self.field_names()
        for codes, _, labels in self.draws():
            yield Block({name: pa.array(codes[:, i]) for i, name in enumerate(names)}, labels)

    def probabilities(self) -> Iterator[Floats]:
        """Yield the true probabilities, block by block."""
        return (probabilities for _, probabilities, _ in self.draws())

    def field_names(self) -> list[str]:
        """``f0``, ``f1``, …"""
        return [f"f{i}" for i in range(self.fields)]

    def truth(self) -> Truth:
        """The true widths, and the Bayes AUC over (the first million of) the rows."""
        probabilities = []
        remaining = AUC_ROWS
        for _, block, _ in self.draws():
            probabilities.append(block[:remaining])
            remaining -= len(block)
            if remaining <= 0:
                break
        widths = np.split(self.model.widths, self.model.offsets[1:])
        return Truth(
            widths=dict(zip(self.field_names(), map(Widths, widths), strict=True)),
            bayes_auc=bayes_auc(np.concatenate(probabilities)),
        )
