"""Own rules of the methods that choose entries or rows, against something independent."""

import math

import numpy as np
import pytest
import torch
from pepbench.baselines import deeplight as deeplight_module
from pepbench.baselines.autosrh import AutoSrh, BlockwiseDescent, SelectedTable, zeros_ranked
from pepbench.baselines.cerp import CERP, ThresholdedPair
from pepbench.baselines.deeplight import DeepLight, zero_smallest
from pepbench.baselines.frequency import Frequency, by_frequency, most_frequent
from pepbench.baselines.low_rank import LowRank
from pepbench.baselines.mixed import equal_count_blocks, equal_frequency_blocks
from pepbench.baselines.popularity_mask import PopularityMask, row_counts
from torch.utils._python_dispatch import TorchDispatchMode

from pepbench.errors import Infeasible
from pepbench.method import Scores, largest_entries, xavier_uniform
from pepbench.serve.addresses import Positions, TwoRows
from pepbench.tables.fields import Fields

DIM = 8


def vectors_of(embedding, n_features):
    with torch.no_grad():
        return embedding(torch.arange(n_features)[None])[0].numpy()


def mask_of_largest(values, count):
    order = np.argsort(-np.abs(values.ravel()), kind="stable")
    mask = np.zeros(values.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(values.shape)


# popularity-mask


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("budget", [1, 40, 200, 500, 696])
def test_popularity_mask_keeps_more_of_more_frequent_features(toy, alpha, budget):
    mask = PopularityMask(alpha=alpha).embedding(toy.fields, DIM, budget).mask.numpy()
    counts = mask.sum(axis=1)
    assert counts.sum() == budget
    assert counts.max() <= DIM
    by_frequency = counts[np.argsort(toy.fields.frequencies, kind="stable")]
    frequencies = np.sort(toy.fields.frequencies)
    for low in range(len(counts) - 1):
        rarer = np.maximum(frequencies, 1) < max(frequencies[low + 1], 1)
        assert (by_frequency[rarer] <= by_frequency[low + 1]).all()


def test_popularity_mask_without_popularity_is_uniform_and_blind_to_it(toy):
    frequent = toy.fields.frequencies > np.median(toy.fields.frequencies)
    torch.manual_seed(0)
    shares = []
    for _ in range(50):
        mask = PopularityMask(alpha=0.0).embedding(toy.fields, DIM, 40).mask.numpy()
        assert set(mask.sum(axis=1)) == {0, 1}
        shares.append(mask[frequent].sum() / 40)
    assert np.mean(shares) == pytest.approx(frequent.mean(), abs=0.05)


def test_row_counts_follow_the_capped_power_law():
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.pareto(0.7, size=rng.integers(1, 30)) + 1e-3
        dim = int(rng.integers(1, 12))
        budget = int(rng.integers(0, len(weights) * dim + 1))
        counts = row_counts(weights, dim, budget, rng.random(len(weights)))
        assert counts.sum() == budget
        low, high = 0.0, len(weights) * dim / weights.min()
        for _ in range(200):
            middle = (low + high) / 2
            under = np.minimum(middle * weights, dim).sum() < budget
            low, high = (middle, high) if under else (low, middle)
        assert (np.abs(counts - np.minimum(high * weights, dim)) < 1 + 1e-6).all()


# frequency


def test_frequent_features_own_rows_and_the_others_of_a_field_share_one(toy):
    fields = toy.fields
    counted = np.bincount(toy.train.ids.ravel(), minlength=fields.n_features)
    embedding = Frequency().embedding(fields, DIM, 20 * DIM)
    vectors = vectors_of(embedding, fields.n_features)
    owns = np.isin(np.arange(fields.n_features), np.argsort(-counted, kind="stable")[:16])
    assert counted[owns].min() > counted[~owns].max()
    same = (vectors[:, None] == vectors[None]).all(axis=2)
    same_field = fields.field_of_feature[:, None] == fields.field_of_feature[None]
    shared = same_field & ~owns[:, None] & ~owns[None]
    np.testing.assert_array_equal(same, shared | np.eye(fields.n_features, dtype=bool))
    assert embedding.n_parameters() == 20 * DIM


def test_frequency_gives_as_many_own_rows_as_fit():
    rng = np.random.default_rng(1)
    for _ in range(100):
        sizes = tuple(rng.integers(1, 7, size=rng.integers(1, 5)).tolist())
        fields = Fields(tuple("abcd"[: len(sizes)]), sizes, rng.permutation(sum(sizes)))
        order = np.argsort(-fields.frequencies, kind="stable")
        needed = [
            k + len(set(fields.field_of_feature[order[k:]].tolist())) for k in range(sum(sizes) + 1)
        ]
        for rows in range(len(sizes), sum(sizes) + 3):
            best = max(k for k, need in enumerate(needed) if need <= rows)
            expected = np.isin(np.arange(sum(sizes)), order[:best])
            np.testing.assert_array_equal(most_frequent(fields, rows), expected)
            size = Frequency().embedding(fields, DIM, rows * DIM + 3).n_parameters()
            assert size == min(rows, sum(sizes)) * DIM


def test_ties_of_frequency_are_broken_at_random():
    counts, firsts = np.array([1, 3, 1, 0, 1, 1]), []
    for seed in range(400):
        torch.manual_seed(seed)
        order = by_frequency(counts)
        assert counts[order].tolist() == [3, 1, 1, 1, 1, 0]
        firsts.append(order[1])
        torch.manual_seed(seed)
        np.testing.assert_array_equal(by_frequency(counts), order)
    # Five standard deviations of a binomial count of 100.
    assert np.abs(np.bincount(firsts)[[0, 2, 4, 5]] - 100).max() < 5 * np.sqrt(75)


def test_frequency_below_one_row_a_field_is_infeasible(toy):
    with pytest.raises(Infeasible, match="smallest possible is 32 parameters"):
        Frequency().embedding(toy.fields, DIM, 31)
    assert Frequency().embedding(toy.fields, DIM, 32).n_parameters() == 32


# low-rank


def test_low_rank_equals_the_dense_product(toy):
    embedding = LowRank().embedding(toy.fields, DIM, 300)
    u, w = (p.detach().numpy() for p in (embedding.table, embedding.projection))
    assert u.shape == (87, 3)
    dense = np.einsum("nr,rd->nd", u, w)
    ids = toy.train.ids[:50]
    ours = embedding(torch.from_numpy(ids.astype(np.int64))).detach().numpy()
    np.testing.assert_allclose(ours, dense[ids], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_low_rank_starts_with_the_variance_of_the_full_table_at_any_rank(rank):
    torch.manual_seed(0)
    fields = Fields(("a", "b"), (2000, 3000), np.zeros(5000, np.int64))
    embedding = LowRank().embedding(fields, DIM, rank * 5008)
    vectors = vectors_of(embedding, 5000)
    assert embedding.table.shape[1] == rank
    assert vectors.var() == pytest.approx(2 / 5008, rel=0.1)


def test_low_rank_never_makes_the_full_table():
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    fields = Fields(("a", "b"), (400, 600), np.zeros(1000, np.int64))
    embedding = LowRank().embedding(fields, DIM, 2 * 1008)
    with Watch():
        embedding(torch.tensor([[3, 700], [9, 400]])).square().sum().backward()
    assert sizes
    assert max(sizes) == 1000 * 2  # the gradient of the narrow table


def test_low_rank_below_rank_one_is_infeasible(toy):
    with pytest.raises(Infeasible, match="smallest possible is 95 parameters"):
        LowRank().embedding(toy.fields, DIM, 94)


# deeplight


def test_deeplight_follows_its_schedule_step_by_step(toy, monkeypatch):
    method = DeepLight(every=10, warmup_epochs=1, max_steps=600, period=20.0, prune_epochs=1000)
    budget, size = 150, 87 * DIM
    task = toy.task(epochs=1)
    warmup = task.steps_per_epoch
    before, history, made = [], [], []

    original = zero_smallest
    all_steps = type(task).steps

    def watched_steps(self, model, optimizer=None):
        for step in all_steps(self, model, optimizer):
            made.append(step.number)
            yield step

    def watched(table, count):
        before.append(table.detach().clone().numpy())
        original(table, count)
        history.append((made[-1], table.detach().clone().numpy()))

    monkeypatch.setattr(type(task), "steps", watched_steps)
    monkeypatch.setattr(deeplight_module, "zero_smallest", watched)
    fitted = method.fit(task, budget)

    assert [step - warmup for step, _ in history] == list(range(10, 601, 10))
    sparsity = 1 - budget / size
    for dense, (step, pruned) in zip(before, history, strict=True):
        due = math.floor(sparsity * (1 - 0.99 ** ((step - warmup) / 20.0)) * size + 1e-9)
        np.testing.assert_array_equal(pruned, dense * mask_of_largest(dense, size - due))
        assert (pruned == 0).sum() == due
    # Not masked: what was pruned may come back.
    revived = (history[5][1] == 0) & (before[6] != 0)
    assert revived.any()
    assert fitted.notes["search_steps"] == warmup + 600
    assert fitted.notes["last_cut"] == pytest.approx(sparsity * 0.99**30)


def test_deeplight_ends_early_once_the_schedule_is_near_its_end(toy):
    method = DeepLight(warmup_epochs=0, period=1.0, tolerance=0.01, prune_epochs=100)
    fitted = method.fit(toy.task(epochs=1), 150)
    steps = fitted.notes["search_steps"]
    missing = (1 - 150 / 696) * 0.99 ** np.arange(steps - 1, steps + 1)
    assert missing[0] > 0.01 >= missing[1]


def test_deeplight_hurries_its_schedule_to_be_through_after_the_epochs_given(toy):
    method = DeepLight(warmup_epochs=1, prune_epochs=3)
    fitted = method.fit(toy.task(epochs=1), 7)
    per_epoch = toy.task().steps_per_epoch
    assert 3.9 * per_epoch < fitted.notes["search_steps"] <= 4 * per_epoch
    assert 0.0009 < fitted.notes["last_cut"] <= 0.001
    # Where an epoch has many steps, the paper's schedule stands.
    assert method.missing(1000, 50_000) == pytest.approx(0.99**10)


def test_deeplight_keeps_exactly_the_largest_and_trains_them_on(toy, monkeypatch):
    task = toy.task(epochs=1)
    started = []
    train = type(task).train

    def watched(self, model, **options):
        started.append(model.embedding.table.detach().clone())
        return train(self, model, **options)

    tables = []
    prune = DeepLight.prune

    def pruned(self, task, model, table, budget):
        outcome = prune(self, task, model, table, budget)
        tables.append(table.detach().clone().numpy())
        return outcome

    monkeypatch.setattr(type(task), "train", watched)
    monkeypatch.setattr(DeepLight, "prune", pruned)
    fitted = DeepLight(max_steps=60).fit(task, 150)
    expected = mask_of_largest(tables[0], 150)
    np.testing.assert_array_equal(fitted.model.embedding.mask.numpy(), expected)
    np.testing.assert_array_equal(started[0].numpy(), tables[0] * expected)
    assert set(task.clock.seconds) == {"search", "train"}


def test_ties_do_not_keep_deeplight_from_its_schedule():
    for count in range(13):
        table = torch.tensor([[1.0, -1.0, 0.5, 1.0], [0.0, 1.0, -2.0, 0.5], [0.0, 3, 1, -1]])
        zero_smallest(table, count)
        assert int((table == 0).sum()) == max(count, 2)
        assert table.abs().max() == (3 if count < 12 else 0)


# autosrh


def search_watched(toy, monkeypatch, method, budget, **settings):
    """Fit; returns what was fitted, the table that the search ended with, and the task."""
    found = []
    search = AutoSrh.search

    def watched(self, task, model, selected):
        steps = search(self, task, model, selected)
        found.append(selected)
        return steps

    monkeypatch.setattr(AutoSrh, "search", watched)
    torch.manual_seed(0)
    task = toy.task(epochs=1, **settings)
    return method.fit(task, budget), found[0], task


@pytest.mark.parametrize("blocks", ["count", "frequency"])
def test_autosrh_keeps_exactly_the_largest_selected_entries(toy, monkeypatch, blocks):
    method = AutoSrh(search_epochs=3, alpha_rate=0.02, blocks=blocks)
    fitted, selected, task = search_watched(toy, monkeypatch, method, 150)
    alpha, table = selected.alpha.detach().numpy(), selected.table.detach().numpy()
    assert alpha.min() < 0.9
    product = alpha[selected.block_of_feature.numpy()] * table
    expected = mask_of_largest(product, 150)
    np.testing.assert_array_equal(fitted.model.embedding.mask.numpy(), expected)
    assert not np.array_equal(expected, mask_of_largest(table, 150))
    assert fitted.notes["search_steps"] == 2 * 3 * 24
    assert set(task.clock.seconds) == {"pretrain", "search", "train"}


@pytest.mark.parametrize("start", ["initial", "trained"])
def test_autosrh_trains_again_from_initial_or_searched_values(toy, monkeypatch, start):
    starts = []
    task_type = type(toy.task())
    train = task_type.train

    def watched(self, model, **options):
        if "phase" not in options:
            starts.append(model.embedding.table.detach().clone())
        return train(self, model, **options)

    monkeypatch.setattr(task_type, "train", watched)
    method = AutoSrh(search_epochs=1, alpha_rate=0.02, start=start)
    fitted, selected, _ = search_watched(toy, monkeypatch, method, 150)
    torch.manual_seed(0)
    sources = {"initial": xavier_uniform(87, DIM), "trained": selected.selected_table()}
    torch.testing.assert_close(starts[0], sources[start] * fitted.model.embedding.mask)


@pytest.mark.parametrize("split", ["validation", "train"])
def test_autosrh_moves_weights_and_selection_in_turn_on_their_own_rows(toy, monkeypatch, split):
    task = toy.task()
    moves = []

    original = type(task).steps

    def watched(self, model, optimizer=None, part="train"):
        for step in original(self, model, optimizer, part):
            after = [p.detach().clone() for p in model.parameters()]
            names = [key for key, _ in model.named_parameters()]
            moves.append((part, dict(zip(names, after, strict=True))))
            yield step

    monkeypatch.setattr(type(task), "steps", watched)
    selected = SelectedTable(
        torch.randn(87, DIM) * 0.1, equal_count_blocks(toy.fields.frequencies, 6), 1e-5
    )
    model = task.model(selected)
    state = {key: value.detach().clone() for key, value in model.named_parameters()}
    AutoSrh(max_steps=4, search_split=split, alpha_rate=0.01).search(task, model, selected)
    parts = {"validation": ["train", "validation"], "train": ["held-in", "held-out"]}
    assert [part for part, _ in moves] == parts[split] * 4
    for number, (_, after) in enumerate(moves):
        moved = {key for key in state if not torch.equal(state[key], after[key])}
        if number % 2 == 0:
            assert "embedding.alpha" not in moved
            assert "embedding.table" in moved
        else:
            assert moved == {"embedding.alpha"}
        state = after


def test_autosrh_descends_alike_in_all_blocks_within_the_unit_interval():
    alpha = torch.nn.Parameter(torch.tensor([[1.0, 0.5], [0.5, 0.001], [1.0, 1.0]]))
    alpha.grad = torch.tensor([[-1.0, 3.0], [1e-6, 3e-6], [0.0, 0.0]])
    BlockwiseDescent(alpha, 0.01).step()
    expected = [[1.0, 0.485], [0.495, 0.0], [1.0, 1.0]]
    np.testing.assert_allclose(alpha.detach().numpy(), expected, atol=1e-6)


def test_autosrh_alpha_falls_where_the_data_has_no_gradient(toy):
    selected = SelectedTable(torch.zeros(87, DIM), np.zeros(87, np.int64), 1e-5)
    task = toy.task()
    model = task.model(selected)
    assert selected.penalty() is None
    selected.alpha.requires_grad_(True)
    # Vectors are zero, so that the loss does not depend on α but by its L1 term.
    task.loss(model, next(task.batches("validation"))).backward()
    np.testing.assert_allclose(selected.alpha.grad, 1e-5)
    BlockwiseDescent(selected.alpha, 0.01).step()
    np.testing.assert_allclose(selected.alpha.detach(), 0.99, rtol=1e-6)


def test_autosrh_takes_the_best_epoch_of_its_search(toy, monkeypatch):
    task = toy.task()
    torch.manual_seed(0)
    blocks = equal_count_blocks(toy.fields.frequencies, 6)
    selected = SelectedTable(xavier_uniform(87, DIM), blocks, 1e-5)
    model = task.model(selected)
    aucs, seen = iter([0.6, 0.8, 0.7]), []

    def validate(_self, model):
        seen.append((model.embedding.table.detach().clone(), model.embedding.alpha.clone()))
        return Scores(next(aucs), 0.5)

    monkeypatch.setattr(type(task), "validate", validate)
    assert AutoSrh(search_epochs=3).search(task, model, selected) == 3 * 24
    assert torch.equal(selected.table, seen[1][0])
    assert torch.equal(selected.alpha, seen[1][1])
    assert not torch.equal(seen[1][1], seen[2][1])


def test_autosrh_blocks_follow_frequency(toy):
    frequencies = toy.fields.frequencies
    for cut, weights in ((equal_count_blocks, np.ones(87)), (equal_frequency_blocks, frequencies)):
        blocks = cut(frequencies, 4)
        assert sorted(set(blocks)) == list(range(blocks.max() + 1))
        for block in range(blocks.max()):
            assert frequencies[blocks == block].min() >= frequencies[blocks > block].max()
        totals = np.bincount(blocks, weights=weights)
        assert totals.sum() == weights.sum()
        assert np.abs(totals - weights.sum() / 4).max() <= weights.max()


def test_autosrh_fills_the_budget_with_zeros_of_all_fields_alike():
    torch.manual_seed(0)
    magnitudes = torch.zeros(60, 4)
    magnitudes[7] = 0.5
    kept = torch.zeros(60, 4)
    for _ in range(200):
        mask = largest_entries(zeros_ranked(magnitudes, 64), 64)
        assert mask[7].all()
        assert mask.sum() == 64
        kept += mask
    # 60 of 236 zeros each time.
    shares = torch.cat([kept[:7], kept[8:]]).sum(1) / (200 * 4)
    torch.testing.assert_close(shares, torch.full((59,), 60 / 236), rtol=0, atol=0.07)
    assert zeros_ranked(magnitudes, 4) is magnitudes


# cerp


def two_rows(n_features, buckets):
    sizes = np.array([n_features - n_features // 3, n_features // 3])
    return TwoRows(Positions(sizes, seed=5), buckets)


def test_cerp_tells_all_features_apart_by_their_two_rows():
    for n_features in (1, 2, 3, 7, 16, 50, 87):
        for buckets in range(math.isqrt(n_features - 1) + 1, n_features + 1):
            shape = two_rows(n_features, buckets)
            pairs = set(map(tuple, shape.rows_of(np.arange(n_features)).tolist()))
            assert len(pairs) == n_features
            p, q = zip(*pairs, strict=True)
            rows_p, rows_q = shape.n_rows
            assert rows_q <= rows_p == buckets
            assert set(q) == set(range(rows_q))
            assert max(p) < rows_p


def test_cerp_chooses_buckets_by_budget_but_enough_to_tell_features_apart(toy):
    wanted = {
        share: CERP(density=0.4).shape(toy.fields, DIM, share).buckets
        for share in (10, 100, 200, 250, 696)
    }
    # N = 87: at least ⌈√87⌉ = 10, at most ⌊87/2⌋.
    assert wanted == {10: 10, 100: 16, 200: 31, 250: 39, 696: 43}


def brute_force(p, q, shape, ids):
    n_features, buckets = shape.positions.n_features, shape.buckets
    run, places = math.ceil(n_features / buckets), shape.positions.of(np.arange(n_features))
    assert sorted(places) == list(range(n_features))
    return np.array([[p[y % buckets] + q[y // run] for y in places[row]] for row in ids])


def test_cerp_vectors_are_sums_of_thresholded_rows(toy):
    shape = CERP().shape(toy.fields, DIM, 100)
    pair = ThresholdedPair(shape, DIM, -3.0, 100.0).double()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in [*pair.tables, *pair.thresholds]:
            parameter.add_(torch.from_numpy(rng.normal(size=parameter.shape) * 0.3))
    p, q = (
        np.sign(v) * np.maximum(np.abs(v) - 1 / (1 + np.exp(-s)), 0)
        for v, s in (
            (table.detach().numpy(), s.detach().numpy())
            for table, s in zip(pair.tables, pair.thresholds, strict=True)
        )
    )
    assert 0 < (p == 0).mean() < 1
    ids = toy.train.ids[:40].astype(np.int64)
    expected = brute_force(p, q, shape, ids)
    np.testing.assert_allclose(pair(torch.from_numpy(ids)).detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(pair.export().lookup(ids), expected, atol=1e-12)
    assert pair.n_parameters() == pair.export().n_parameters == (p != 0).sum() + (q != 0).sum()

    pair.gamma, pair.eta = 0.5, 7.0
    penalty = -0.5 * (np.tanh(7.0 * expected) ** 2).sum()
    assert pair.penalty().item() == pytest.approx(penalty, rel=1e-12)


@pytest.mark.parametrize(("n_features", "buckets"), [(4, 2), (87, 16), (1000, 400)])
def test_cerp_regularises_each_entry_alike_whatever_the_number_of_rows(n_features, buckets):
    pair = ThresholdedPair(two_rows(n_features, buckets), 2, -100.0, 100.0).double()
    pair.gamma = 0.5
    with torch.no_grad():
        pair.tables[0].fill_(0.003)
        pair.tables[1].fill_(0.001)
    pair(torch.tensor([[1]]))
    pair.penalty().backward()
    v = 0.004
    expected = -2 * 0.5 * 100 * np.tanh(100 * v) / np.cosh(100 * v) ** 2
    for table, row in zip(pair.tables, pair.shape.rows_of(np.array([1]))[0], strict=True):
        np.testing.assert_allclose(table.grad[row], expected, rtol=1e-9)
        assert int((table.grad != 0).sum()) == 2


def test_cerp_gradients_are_exact():
    torch.manual_seed(0)
    pair = ThresholdedPair(two_rows(7, 3), 2, -2.0, 3.0).double()
    pair.gamma = 0.1
    ids = torch.tensor([[0, 6], [3, 5]])

    def outputs(*_):
        vectors = pair(ids)
        return vectors, pair.penalty()

    assert torch.autograd.gradcheck(outputs, list(pair.parameters()))


def test_cerp_sums_start_with_the_variance_of_the_full_table():
    torch.manual_seed(0)
    pair = ThresholdedPair(two_rows(5000, 600), 16, -50.0, 1.0)
    assert vectors_of(pair, 5000).var() == pytest.approx(2 / 5016, rel=0.1)


def fit_cerp(toy, monkeypatch, budget, **options):
    found, starts = [], []
    task = toy.task(epochs=1)
    search, train = CERP.search, type(task).train

    def watched(self, task, pruned, budget):
        initial = [table.detach().clone() for table in pruned.tables]
        outcome = search(self, task, pruned, budget)
        found.append((initial, pruned, outcome))
        return outcome

    def trained(self, model, **more):
        starts.append([t.table.detach().clone() for t in (model.embedding.p, model.embedding.q)])
        return train(self, model, **more)

    monkeypatch.setattr(CERP, "search", watched)
    monkeypatch.setattr(type(task), "train", trained)
    fitted = CERP(**options).fit(task, budget)
    return fitted, found[0], starts[0]


@pytest.mark.parametrize(("steps", "trimmed"), [(2000, False), (3, True)])
@pytest.mark.slow
def test_cerp_keeps_exactly_the_budget_and_trains_it_from_initial_values(
    toy, monkeypatch, steps, trimmed
):
    options = {"init": -4.0, "travel_epochs": 1.0, "gamma": 0.01, "max_steps": steps}
    fitted, (initial, pair, outcome), starts = fit_cerp(toy, monkeypatch, 100, **options)
    assert (fitted.notes["search_steps"], fitted.notes["trimmed"]) == outcome
    assert fitted.notes["trimmed"] == trimmed
    assert (outcome[0] < steps) or trimmed
    table = fitted.model.embedding
    mask = np.concatenate([t.mask.numpy().ravel() for t in (table.p, table.q)])
    margins = np.concatenate(
        [
            (v.detach().abs() - torch.sigmoid(s.detach())).numpy().ravel()
            for v, s in zip(pair.tables, pair.thresholds, strict=True)
        ]
    )
    assert mask.sum() == 100
    assert margins[mask].min() >= margins[~mask].max()
    assert (margins > 0).sum() <= 100 or trimmed
    for values, start, part in zip(initial, starts, (table.p, table.q), strict=True):
        torch.testing.assert_close(start, values * part.mask, rtol=0, atol=0)


def test_cerp_can_give_up_at_the_step_limit(toy):
    with pytest.raises(Infeasible, match=r"cerp: \d+ entries left after 2 steps, 100 allowed"):
        CERP(max_steps=2, at_limit="infeasible").fit(toy.task(), 100)


def test_cerp_halves_its_regulariser_after_every_epoch(toy):
    task = toy.task()
    shape = CERP().shape(toy.fields, DIM, 100)
    pair = ThresholdedPair(shape, DIM, -100.0, 100.0)
    assert CERP(search_epochs=3, gamma=0.8).search(task, pair, 100) == (3 * 24, True)
    # What the third epoch used.
    assert pair.gamma == pytest.approx(0.2)


def test_cerp_thresholds_travel_as_far_as_the_epochs_say_on_any_task(toy):
    for changes in ({}, {"batch_size": 64}, {"learning_rate": 1e-4, "l2": 0.0}):
        task = toy.task(**changes)
        pair = ThresholdedPair(CERP().shape(toy.fields, DIM, 100), DIM, -100.0, 100.0)
        CERP(search_epochs=1, travel_epochs=10.0).search(task, pair, 100)
        for s in pair.thresholds:
            # Adam's step is its rate while the gradient hardly changes.
            torch.testing.assert_close(s.detach(), torch.full_like(s, -90.0), rtol=0, atol=0.6)


# all


@pytest.mark.parametrize(
    "method",
    [
        PopularityMask(),
        Frequency(),
        LowRank(),
        DeepLight(max_steps=60),
        AutoSrh(search_epochs=2),
        CERP(max_steps=60, init=-4.0, travel_epochs=1.0),
    ],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
@pytest.mark.slow
def test_steps_stay_within_the_announced_bound_under_either_optimizer(toy, method, optimizer):
    task = toy.task(optimizer=optimizer)
    fitted = method.fit(task, 300)
    assert fitted.model.embedding.n_parameters() <= 300
    assert task.samples <= method.most_steps(task.steps_per_epoch, 4) * 256
