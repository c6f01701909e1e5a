"""Own rules of the searches over widths, against something independent."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pepbench.baselines.darts import (
    DARTS,
    BudgetPenalty,
    MixtureTable,
    balanced,
    candidate_sizes,
    candidates,
    knapsack,
)
from pepbench.baselines.mixed import MixedTable
from pepbench.baselines.optembed import (
    LongTailStep,
    OptEmbed,
    Supernet,
    crossed,
    filled,
    mutated,
    random_widths,
)
from pepbench.baselines.search import BestEpoch
from pepbench.baselines.sseds import SSEDS, ScaledColumns, widths_of_most_salient

from pepbench.errors import Diverged, Infeasible
from pepbench.method import MaskedTable, Model, PlainTable, Scores, xavier_uniform
from pepbench.tables.fields import Fields
from pepbench.training import step as training_step

DIM = 8


def fields_of(*cardinalities):
    names = tuple(f"f{i}" for i in range(len(cardinalities)))
    return Fields(names, cardinalities, np.ones(sum(cardinalities), np.int64))


def ids_of(toy, count):
    return torch.from_numpy(toy.train.ids[:count].astype(np.int64))


def size_of(cardinalities, widths, dim):
    """The count of METHODS, written out."""
    return sum(
        n * d + (d * dim if d < dim else 0) for n, d in zip(cardinalities, widths, strict=True)
    )


# the best epoch of a search


def test_a_search_without_a_score_has_diverged(toy, monkeypatch):
    task = toy.task()
    best = BestEpoch(task, task.model(PlainTable(87, DIM)))
    monkeypatch.setattr(type(task), "score", lambda *_: float("nan"))
    best.see()
    with pytest.raises(Diverged, match="NaN after every epoch"):
        best.restore()


# mixed tables with fields that have no vectors


def test_a_field_of_width_zero_has_zero_vectors_and_no_parameters(toy):
    widths = [0, 3, 8, 0]
    table = MixedTable(toy.fields.field_of_feature, widths, DIM)
    assert table.n_parameters() == size_of(toy.fields.cardinalities, widths, DIM)
    for count in (5, 300):  # both ways of looking up
        vectors = table(ids_of(toy, count))
        assert (vectors[:, [0, 3]] == 0).all()
        assert (vectors[:, [1, 2]] != 0).all()
        vectors.sum().backward()
        numpy_ids = toy.train.ids[:count].astype(np.int64)
        np.testing.assert_allclose(
            table.export().lookup(numpy_ids), vectors.detach().numpy(), atol=1e-6
        )


# darts


@pytest.mark.parametrize("zero", [False, True])
def test_candidate_sizes_are_what_a_mixed_table_holds(toy, zero):
    choices = candidates(DIM, zero)
    sizes = candidate_sizes(toy.fields, choices, DIM)
    for chosen in itertools.islice(itertools.product(range(len(choices)), repeat=4), 0, None, 7):
        widths = [choices[c] for c in chosen]
        table = MixedTable(toy.fields.field_of_feature, widths, DIM)
        assert table.n_parameters() == sum(sizes[i, c] for i, c in enumerate(chosen))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_fields=st.integers(1, 5),
    n_choices=st.integers(1, 4),
    share=st.floats(0.0, 1.2),
    least=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_knapsack_is_optimal_by_brute_force(seed, n_fields, n_choices, share, least):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 10**6, (n_fields, n_choices))
    scores = np.log(rng.dirichlet(np.full(n_choices, 0.5), n_fields) + 1e-12)
    low, high = sizes.min(1).sum(), sizes.max(1).sum()
    budget = max(int(low + share * (high - low)), int(low), 1)
    chosen = knapsack(scores, sizes, budget, least)

    def total(matrix, choice):
        return sum(matrix[i, c] for i, c in enumerate(choice))

    feasible = {
        choice: total(sizes, choice)
        for choice in itertools.product(range(n_choices), repeat=n_fields)
        if total(sizes, choice) <= budget
    }
    low = least * budget
    if max(feasible.values()) < low:
        low = least * max(feasible.values())
    best = max(total(scores, choice) for choice, size in feasible.items() if size >= low)
    assert low - 1 <= total(sizes, chosen) <= budget
    assert total(scores, chosen) == pytest.approx(best, abs=1e-6)


def test_knapsack_keeps_to_a_budget_of_many_millions_exactly():
    # An integrality tolerance of 1e-6 is several parameters of a large field.
    rng = np.random.default_rng(0)
    for _ in range(10):
        sizes = np.sort(rng.integers(1, 10**9, (12, 5)), axis=1)
        scores = np.log(rng.dirichlet(np.ones(5), 12))
        budget = int(sizes[:, 2].sum())
        chosen = knapsack(scores, sizes, budget)
        assert sizes[np.arange(12), chosen].sum() <= budget
        assert scores[np.arange(12), chosen].sum() >= scores[:, 2].sum()


def mixture(toy, budget=100):
    choices = candidates(DIM)
    pull = BudgetPenalty(candidate_sizes(toy.fields, choices, DIM), budget)
    return MixtureTable(toy.fields, choices, DIM, pull)


def test_mixture_is_the_sum_of_normalised_candidates(toy):
    torch.manual_seed(0)
    table = mixture(toy).double().eval()
    with torch.no_grad():
        table.logits.normal_()
    ids = ids_of(toy, 200)
    vectors = table(ids).detach().numpy() / float(table.scale.detach())
    shares = np.exp(table.logits.detach().numpy())
    shares /= shares.sum(1, keepdims=True)
    for i in range(4):
        rows = table.table.detach().numpy()[ids[:, i]]
        expected = 0.0
        for c, width in enumerate((1, 2, 4, 8)):
            norm = torch.nn.BatchNorm1d(DIM, eps=table.epsilon, affine=False).double()
            wide = rows[:, :width] @ table.projections[c][i].detach().numpy()
            expected = expected + shares[i, c] * norm(torch.from_numpy(wide)).numpy()
        np.testing.assert_allclose(vectors[:, i], expected, atol=1e-9)


def test_gradients_of_the_mixture_are_exact(toy):
    torch.manual_seed(0)
    table = mixture(toy).double().eval()
    ids = ids_of(toy, 6)
    parameters = [table.logits, table.scale, *table.projections]
    with torch.no_grad():
        table.table.normal_()
    assert torch.autograd.gradcheck(lambda *_: table(ids), parameters, fast_mode=True)


def test_low_temperature_takes_one_candidate_with_its_probability(toy):
    torch.manual_seed(0)
    table = mixture(toy).train()
    table.temperature = 0.01
    with torch.no_grad():
        table.logits.copy_(torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4])))
        draws = torch.stack([table.shares() for _ in range(2000)])
    assert (draws.amax(dim=2) > 0.9).double().mean() > 0.95
    taken = torch.nn.functional.one_hot(draws.argmax(dim=2), 4).double().mean(dim=(0, 1))
    np.testing.assert_allclose(taken, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_gradient_of_loss_and_pull_reaches_alpha(toy):
    torch.manual_seed(0)
    table = mixture(toy, budget=200)
    task = toy.task()
    model = task.model(table)
    batch = next(task.batches("validation"))
    task.loss(model, batch).backward()
    assert (table.logits.grad != 0).all()
    # At the budget the loss is all; with a multiplier every field is pulled to narrower widths.
    assert float(table.penalty().detach()) == pytest.approx(0, abs=1e-9)
    table.logits.grad = None
    table.pull.multiplier = 1.0
    table.penalty().backward()
    assert (table.logits.grad[:, 0] < 0).all()
    assert (table.logits.grad[:, -1] > 0).all()


def test_multiplier_follows_the_distance_to_the_budget_in_both_directions():
    fields = fields_of(10, 20)
    pull = BudgetPenalty(candidate_sizes(fields, (1, 2, 4), 4), budget=70)
    narrow = torch.tensor([[9.0, 0.0, 0.0]] * 2)
    wide = torch.tensor([[0.0, 0.0, 9.0]] * 2)
    sizes = [float(pull.expected_size(logits)) for logits in (wide, narrow)]
    assert sizes[1] < 70 < sizes[0]
    for logits in [wide] * 5 + [narrow] * 40:
        pull.ascend(logits, 0.1)
    expected = 0.1 * (5 * np.log(sizes[0] / 70) + 40 * np.log(sizes[1] / 70))
    assert pull.multiplier == pytest.approx(expected, rel=1e-5)
    assert pull.multiplier < 0


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_search_starts_at_the_budget(toy, zero, share):
    choices, budget = candidates(DIM, zero), int(share * toy.full_parameters)
    sizes = candidate_sizes(toy.fields, choices, DIM)
    logits = balanced(choices, sizes, budget)
    assert float(BudgetPenalty(sizes, budget).expected_size(logits)) == pytest.approx(budget, 1e-4)
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_logits_at_either_end_of_the_budgets_are_finite(toy):
    choices = candidates(DIM)
    sizes = candidate_sizes(toy.fields, choices, DIM)
    for budget, choice in ((sizes[:, 0].sum(), 0), (sizes[:, -1].sum() + 10, 3)):
        logits = balanced(choices, sizes, int(budget))
        assert logits.isfinite().all()
        assert (logits.argmax(dim=1) == choice).all()


@pytest.mark.slow
@pytest.mark.parametrize("alpha_rate", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("share", [0.2, 0.35, 0.6])
def test_the_search_ends_at_the_budget_and_uses_it(toy, share, alpha_rate):
    budget = int(share * toy.full_parameters)
    torch.manual_seed(0)
    # The learning rate of the toy task is ten times the default one.
    method = DARTS(search_epochs=5, alpha_rate=0.1 * alpha_rate)
    fitted = method.fit(toy.task(epochs=1), budget)
    assert abs(np.log(fitted.notes["expected_size"] / budget)) < np.log(1.25)
    assert fitted.model.embedding.n_parameters() >= 0.9 * budget


def test_weights_learn_on_training_rows_and_alpha_on_validation_rows(toy, monkeypatch):
    task = toy.task()
    seen = []
    endless = type(task)._endless

    def watched(self, part, model, optimizer):
        inner = endless(self, part, model, optimizer)
        while True:
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            step = next(inner)
            after = dict(model.named_parameters())
            seen.append(
                (part, {name for name in after if not torch.equal(before[name], after[name])})
            )
            yield step

    monkeypatch.setattr(type(task), "_endless", watched)
    torch.manual_seed(0)
    assert DARTS(max_steps=3).search(task, mixture(toy)) == 3
    assert [part for part, _ in seen] == ["train", "validation"] * 3
    for part, moved in seen:
        if part == "validation":
            assert moved == {"embedding.logits"}
        else:
            assert "embedding.table" in moved
            assert "embedding.logits" not in moved


def test_too_small_a_budget_names_the_smallest_size_before_any_search(toy, monkeypatch):
    monkeypatch.setattr(type(toy.task()), "_endless", None)
    smallest = min(
        size_of(toy.fields.cardinalities, widths, DIM)
        for widths in itertools.product((1, 2, 4, 8), repeat=4)
    )
    message = re.escape(f"darts: smallest possible is {smallest} parameters")
    with pytest.raises(Infeasible, match=message):
        DARTS().fit(toy.task(), smallest - 1)
    column = min(toy.fields.cardinalities) + DIM
    with pytest.raises(Infeasible, match=f"sseds: smallest possible is {column} parameters"):
        SSEDS().fit(toy.task(), column - 1)


def test_darts_meets_its_smallest_size_and_can_drop_fields(toy):
    fitted = DARTS(max_steps=2).fit(toy.task(epochs=1), 119)
    assert fitted.model.embedding.widths == (1, 1, 1, 1)
    dropped = DARTS(max_steps=2, zero=True).fit(toy.task(epochs=1), 30)
    assert 0 in dropped.model.embedding.widths
    assert dropped.model.embedding.n_parameters() <= 30


# sseds


@pytest.mark.parametrize("split", ["validation", "train"])
def test_saliency_is_a_finite_difference_of_the_loss(toy, split):
    torch.manual_seed(0)
    task = toy.task(epochs=2)
    dense = task.model(PlainTable(toy.fields.n_features, DIM))
    task.train(dense)
    dense = dense.double()
    task._maker = type(task._maker)(256, task.device, torch.float64)
    found = SSEDS(search_split=split, per="pass").saliency(task, dense)
    rows = getattr(toy, split)
    ids = torch.from_numpy(rows.ids.astype(np.int64))
    labels = torch.from_numpy(rows.labels.astype(np.float64))
    table = dense.embedding.table.detach()

    def loss(field, column, factor):
        scaled = table.clone()
        inside = toy.fields.field_of_feature == field
        scaled[torch.from_numpy(inside), column] *= factor
        with torch.no_grad():
            logits = dense.backbone(scaled[ids], ids)
            return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))

    for field in range(4):
        for column in (0, 3, 7):
            slope = (loss(field, column, 1 + 1e-4) - loss(field, column, 1 - 1e-4)) / 2e-4
            assert found[field, column] / len(labels) == pytest.approx(
                abs(slope), rel=1e-4, abs=1e-9
            )


def test_saliency_by_batch_is_never_below_that_of_the_pass(toy):
    torch.manual_seed(0)
    task = toy.task()
    dense = task.model(PlainTable(toy.fields.n_features, DIM))
    whole, by_batch = (SSEDS(per=per).saliency(task, dense) for per in ("pass", "batch"))
    assert (by_batch >= whole - 1e-12).all()
    assert (by_batch > whole * 1.01).any()


def test_columns_scaled_by_one_are_the_trained_ones(toy):
    values = xavier_uniform(toy.fields.n_features, DIM)
    ids = ids_of(toy, 20)
    scaled = ScaledColumns(values, toy.fields)
    assert torch.equal(scaled(ids), values[ids])
    np.testing.assert_array_equal(scaled.export().lookup(ids.numpy()), values[ids].numpy())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    cardinalities=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    dim=st.integers(1, 6),
    share=st.floats(0.0, 1.0),
)
def test_columns_passed_over_do_not_fit_and_all_kept_are_more_salient(
    seed, cardinalities, dim, share
):
    saliency = np.random.default_rng(seed).random((len(cardinalities), dim))
    budget = int(share * sum(cardinalities) * dim)
    found = widths_of_most_salient(saliency, fields_of(*cardinalities), dim, budget)
    size = size_of(cardinalities, found, dim)
    assert size <= budget
    for field in range(len(cardinalities)):
        # No field has room for one more column, or for all that it lacks.
        for width in {min(found[field] + 1, dim), dim} - {found[field]}:
            wider = found.copy()
            wider[field] = width
            assert size_of(cardinalities, wider, dim) > budget


def test_a_column_that_does_not_fit_is_passed_over_for_those_that_do():
    saliency = np.array([[9.0, 1, 1, 1], [8, 7, 6, 5]])
    found = widths_of_most_salient(saliency, fields_of(1000, 10), 4, 60)
    assert found.tolist() == [0, 4]
    assert size_of((1000, 10), found, 4) == 40


def test_the_last_column_of_a_field_fits_where_one_less_does_not():
    # Three columns and a projection are 42 numbers, four columns 40.
    saliency = np.array([[4.0, 3, 2, 1]])
    assert widths_of_most_salient(saliency, fields_of(10), 4, 41).tolist() == [4]


# optembed


def test_supernet_gates_by_norm_and_cuts_to_random_prefixes_in_training(toy):
    torch.manual_seed(0)
    values = torch.randn(toy.fields.n_features, DIM)
    supernet = Supernet(values, toy.fields, 1e-3)
    thresholds = np.array([5.0, 6.0, 7.0, 0.0])
    with torch.no_grad():
        supernet.thresholds.copy_(torch.from_numpy(thresholds))
    ids = ids_of(toy, 500)
    norms = values.abs().sum(dim=1).numpy()
    kept = norms > thresholds[toy.fields.field_of_feature]
    expected = np.where(kept[:, None], values.numpy(), 0)[ids]
    np.testing.assert_array_equal(supernet.eval()(ids).detach().numpy(), expected)
    np.testing.assert_array_equal(supernet.export().lookup(ids.numpy()), expected)
    cut = supernet.train()(ids).detach().numpy()
    lengths = (cut != 0).sum(axis=2)
    prefixes = np.arange(DIM) < lengths[..., None]
    np.testing.assert_array_equal(cut, expected * prefixes)
    shares = np.bincount(lengths[kept[ids]], minlength=DIM + 1)[1:] / kept[ids].sum()
    np.testing.assert_allclose(shares, 1 / DIM, atol=0.04)
    assert float(supernet.penalty().detach()) == pytest.approx(
        1e-3 * np.exp(-thresholds).sum(), rel=1e-5
    )


def test_long_tailed_surrogate_has_the_published_shape():
    inputs = torch.tensor([-2.0, -1.0, -0.7, -0.4, -0.1, 0.0, 0.1, 0.3, 0.4, 1.0, 1.1])
    inputs.requires_grad_()
    outputs = LongTailStep.apply(inputs)
    assert outputs.tolist() == [0.0] * 6 + [1.0] * 5
    outputs.sum().backward()
    expected = [0, 0.4, 0.4, 0.4, 1.6, 2.0, 1.6, 0.8, 0.4, 0.4, 0]
    np.testing.assert_allclose(inputs.grad, expected, atol=1e-6)


def test_gradient_of_loss_and_pull_reaches_thresholds(toy):
    torch.manual_seed(0)
    # Norms within 1 of the threshold: beyond, the surrogate is zero.
    values = 0.5 * xavier_uniform(toy.fields.n_features, DIM)
    supernet = Supernet(values, toy.fields, 0.0)
    task = toy.task()
    model = task.model(supernet)
    task.loss(model, next(task.batches("train"))).backward()
    assert (supernet.thresholds.grad != 0).all()
    supernet.thresholds.grad = None
    supernet.alpha = 0.5
    supernet.penalty().backward()
    np.testing.assert_allclose(supernet.thresholds.grad, -0.5)


def test_a_strong_pull_drops_features(toy):
    kept = {}
    for alpha in (0.0, 0.1):
        method = OptEmbed(alpha=alpha, generations=1, crossings=1, mutants=0, threshold_rate=3.0)
        torch.manual_seed(0)
        kept[alpha] = method.fit(toy.task(epochs=1), 696).notes["features_above_threshold"]
    assert kept[0.1] < kept[0.0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    dim=st.integers(1, 9),
    spare=st.integers(0, 200),
)
def test_offspring_stay_legal(seed, counts, dim, spare):
    rng = np.random.default_rng(seed)
    counts = np.array(counts)
    budget = int(counts.sum()) + spare
    mother, father = (random_widths(len(counts), dim, rng) for _ in range(2))
    before = mother.copy(), father.copy()
    children = [mutated(mother, dim, 0.5, rng), crossed(mother, father, rng)]
    assert (mother == before[0]).all()
    assert (father == before[1]).all()
    assert ((children[1] == mother) | (children[1] == father)).all()
    for child in children:
        fixed = filled(child, counts, dim, budget, rng)
        assert fixed.shape == counts.shape
        assert ((fixed >= 1) & (fixed <= dim)).all()
        assert (child <= dim).all()
        size = counts @ fixed
        assert size <= budget
        # No room is left, and no field loses columns without need.
        assert (counts + size > budget)[(counts > 0) & (fixed < dim)].all()
        assert (fixed >= child)[counts > 0].all() or counts @ child > budget


@pytest.mark.parametrize("budget", [1, 60, 200, 696])
def test_every_individual_is_within_the_budget(toy, budget, monkeypatch):
    task = toy.task(epochs=1)
    validate = type(task).validate
    sizes = []

    def spy(self, model):
        if isinstance(model.embedding, MaskedTable):
            sizes.append(model.embedding.n_parameters())
        return validate(self, model)

    monkeypatch.setattr(type(task), "validate", spy)
    method = OptEmbed(max_steps=5, generations=3, mutants=4, crossings=4)
    fitted = method.fit(task, budget)
    assert len(sizes) >= 2
    assert max(sizes) <= budget
    assert fitted.model.embedding.n_parameters() <= budget


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_thresholds_learn_by_plain_gradient_descent(toy, monkeypatch, scale):
    torch.manual_seed(0)
    supernet = Supernet(0.5 * xavier_uniform(toy.fields.n_features, DIM), toy.fields, 1e-2)
    task = toy.task()
    model = task.model(supernet)
    seen = []
    loss = training_step.batch_loss

    def scaled(*arguments):
        seen.append(supernet.thresholds.detach().clone())
        return scale * loss(*arguments)

    monkeypatch.setattr(training_step, "batch_loss", scaled)
    torch.manual_seed(1)
    OptEmbed(threshold_rate=0.3, max_steps=1).train_supernet(task, model)
    # The same step again, from the same state, for its gradient.
    torch.manual_seed(0)
    again = Supernet(0.5 * xavier_uniform(toy.fields.n_features, DIM), toy.fields, 1e-2)
    again_model = toy.task().model(again)
    torch.manual_seed(1)
    loss(again_model, next(task._maker.shuffled(toy.train, (0, 1, 1)))).backward()
    expected = seen[0] - 0.3 * scale * again.thresholds.grad
    torch.testing.assert_close(supernet.thresholds.detach(), expected)
    assert (again.thresholds.grad != 0).all()


def test_the_supernet_of_the_best_epoch_is_taken(toy, monkeypatch):
    task = toy.task()
    torch.manual_seed(0)
    supernet = Supernet(xavier_uniform(toy.fields.n_features, DIM), toy.fields, 1e-5)
    model = task.model(supernet)
    aucs, tables = iter([0.6, 0.8, 0.7]), []

    def validate(_self, model):
        tables.append(model.embedding.table.detach().clone())
        return Scores(next(aucs), 0.5)

    monkeypatch.setattr(type(task), "validate", validate)
    OptEmbed(search_epochs=3).train_supernet(task, model)
    assert torch.equal(supernet.table, tables[1])
    assert not torch.equal(tables[1], tables[2])


def test_evolution_finds_the_best_of_a_known_landscape():
    target = np.array([8, 3, 1, 5])
    counts = np.array([1, 2, 3, 1])
    budget = int(counts @ target)
    scored = []

    def score(widths):
        scored.append(tuple(widths))
        assert 0 <= budget - counts @ widths < counts[widths < 8].min()
        return -float(np.abs(widths - target).sum())

    found = OptEmbed(generations=60).evolve(score, counts, 8, budget, np.random.default_rng(0))
    assert np.abs(found - target).sum() <= 1
    assert len(set(scored)) == len(scored)


def test_too_many_features_for_the_budget_lose_those_of_least_margin(toy):
    torch.manual_seed(0)
    fitted = OptEmbed(max_steps=3, generations=1, least_width=8).fit(toy.task(epochs=1), 80)
    assert fitted.notes["features_kept"] == 10
    rows = fitted.model.embedding.mask.any(dim=1)
    assert int(rows.sum()) == 10
    # What is kept of a field is a prefix of the columns, the same for all of its features.
    mask = fitted.model.embedding.mask.numpy()
    widths = [int(width) for width in fitted.notes["widths"].split()]
    for feature in np.flatnonzero(rows.numpy()):
        width = widths[toy.fields.field_of_feature[feature]]
        assert mask[feature].tolist() == [True] * width + [False] * (DIM - width)


@pytest.mark.parametrize(("budget", "unused"), [(59, True), (41, False)])
def test_a_budget_that_is_not_used_has_its_reason_in_the_notes(toy, budget, unused):
    # The smallest field fills 40 numbers; a column of the next one takes 20 more.
    class Fixed(SSEDS):
        def saliency(self, *_):
            return np.repeat([[0.0], [0.0], [1.0], [0.0]], DIM, axis=1)

    fitted = Fixed().fit(toy.task(epochs=1), budget)
    assert fitted.model.embedding.n_parameters() == 40
    assert ("unused_budget" in fitted.notes) == unused


@pytest.mark.parametrize("method", [DARTS(max_steps=20), SSEDS(), OptEmbed(max_steps=20)])
def test_searches_are_a_phase_of_their_own_and_leave_notes(toy, method):
    task = toy.task(epochs=1)
    torch.manual_seed(0)
    fitted = method.fit(task, 300)
    assert task.clock.seconds["search"][0] > 0
    assert task.clock.seconds["train"][0] > 0
    assert ("pretrain" in task.clock.seconds) == (method.name == "sseds")
    widths = [int(width) for width in fitted.notes["widths"].split()]
    assert len(widths) == 4


@pytest.mark.parametrize("method", [DARTS(search_epochs=2), SSEDS(), OptEmbed(search_epochs=2)])
def test_most_steps_bounds_the_steps_made(toy, method, monkeypatch):
    task = toy.task()
    update = type(task)._update
    steps = []
    monkeypatch.setattr(
        type(task), "_update", lambda *arguments: steps.append(1) or update(*arguments)
    )
    torch.manual_seed(0)
    method.fit(task, 300)
    bound = method.most_steps(task.steps_per_epoch, 4)
    assert 0.5 * (bound - 200 * 3) < len(steps) <= bound


@pytest.mark.parametrize("start", ["initial", "trained"])
def test_optembed_trains_again_from_where_it_is_told(toy, start, monkeypatch):
    task = toy.task(epochs=1)
    started = []

    def train(_self, model, **_):
        started.append(model)
        raise StopIteration

    monkeypatch.setattr(type(task), "train", train)
    torch.manual_seed(4)
    initial = xavier_uniform(toy.fields.n_features, DIM)
    torch.manual_seed(4)
    with pytest.raises(StopIteration):
        OptEmbed(max_steps=20, generations=1, start=start).fit(task, 300)
    model = started[0]
    assert isinstance(model, Model)
    table = model.embedding
    assert torch.equal(table.table, initial * table.mask) == (start == "initial")
