"""PEP's own rules: where the search stops, what it keeps, what is trained again."""

import dataclasses

import numpy as np
import pytest
import torch

from pepbench.errors import Infeasible
from pepbench.method import xavier_uniform
from pepbench.pep import FAST, PEP, ThresholdedTable, Thresholds, soft_threshold
from pepbench.pep_search import RowSearch, fast_soft_threshold, refilled
from pepbench.tables.fields import Fields

QUICK = PEP(init=-4.0, threshold_rate=5.0, max_steps=400)
KINDS = ("global", "dimension", "feature", "field", "feature_dim", "field_dim")


def search(toy, method, budget, seed=0):
    torch.manual_seed(seed)
    initial = xavier_uniform(toy.fields.n_features, 8)
    return next(method.search(toy.task(seed), initial, [budget]))


def counts_by_step(toy, method, steps, seed=0):
    """Non-zeros after 0, 1, 2, … updates, counted from outside."""
    torch.manual_seed(seed)
    initial = xavier_uniform(toy.fields.n_features, 8)
    thresholds = Thresholds(method.granularity, toy.fields, 8, method.init)
    table = ThresholdedTable(initial, thresholds)
    task = toy.task(seed)
    model = task.model(table)
    counts = [int(torch.count_nonzero(table.thresholded()))]
    optimizer = task.optimizer(model, {thresholds.raw: method.threshold_rate})
    for step in task.steps(model, optimizer):
        counts.append(int(torch.count_nonzero(table.thresholded())))
        if step.number == steps:
            return counts


@pytest.mark.parametrize("kind", KINDS)
def test_search_stops_at_the_first_step_within_budget(toy, kind):
    method = dataclasses.replace(QUICK, granularity=kind, mode="reference")
    counts = counts_by_step(toy, method, 300)
    budget = min(counts) + (counts[0] - min(counts)) // 2
    first = next(step for step, count in enumerate(counts) if count <= budget)
    found = search(toy, method, budget)
    assert (found.steps, found.trimmed) == (first, False)
    assert int(found.mask.sum()) == counts[first] <= budget


@pytest.mark.parametrize("option", [{}, {"exact": False}, {"mode": "reference"}])
@pytest.mark.parametrize("kind", KINDS)
def test_an_overshot_budget_is_refilled_unless_told_otherwise(toy, kind, option):
    method = dataclasses.replace(QUICK, granularity=kind, **option)
    counts = counts_by_step(toy, method, 300)
    lowest = np.minimum.accumulate(counts)
    step = next(k for k in range(1, 300) if lowest[k] == counts[k] > lowest[k + 1] + 1)
    budget = int(counts[step]) - 1
    mask = search(toy, method, budget).mask
    assert int(mask.sum()) == (counts[step + 1] if option else budget)
    loosely = search(toy, dataclasses.replace(method, exact=False), budget).mask
    assert not (loosely & ~mask).any()


def test_refill_takes_the_largest_of_what_the_last_step_pruned():
    previous = torch.tensor([[0.5, -0.9, 0.0], [0.7, 0.1, 0.2]])
    now = torch.tensor([[0.0, -0.8, 0.0], [0.0, 0.0, 0.1]])
    assert refilled(previous, now, 3).tolist() == [[False, True, False], [True, False, True]]


def test_at_the_step_limit_the_largest_entries_are_kept(toy):
    method = dataclasses.replace(QUICK, max_steps=3, init=-12.0)
    found = search(toy, method, 100)
    assert found.trimmed
    assert found.steps == 3
    assert int(found.mask.sum()) == 100


def test_at_the_step_limit_it_can_give_up_instead(toy):
    method = dataclasses.replace(QUICK, max_steps=3, init=-12.0, at_limit="infeasible")
    with pytest.raises(Infeasible, match=r"after 3 steps.*raise init, threshold_rate"):
        search(toy, method, 100)


def test_warm_up_holds_thresholds_while_values_learn(toy, monkeypatch):
    task = toy.task()
    all_steps = type(task).steps
    history = []

    def watched(self, model, optimizer=None):
        for step in all_steps(self, model, optimizer):
            table = model.embedding
            history.append([p.detach().clone() for p in (table.thresholds.raw, table.values)])
            yield step

    monkeypatch.setattr(type(task), "steps", watched)
    initial = xavier_uniform(toy.fields.n_features, 8)
    next(
        dataclasses.replace(QUICK, warmup_steps=5, max_steps=8, init=-6.0).search(
            task, initial, [10]
        )
    )
    moved = [not torch.equal(raw, torch.full_like(raw, -6.0)) for raw, _ in history]
    assert moved == [False] * 5 + [True] * 4
    assert not torch.equal(history[0][1], initial)


@pytest.mark.parametrize("retrain", ["initial", "new"])
def test_second_training_starts_from_initial_or_new_values(toy, retrain, monkeypatch):
    task = toy.task(epochs=1)
    started = []
    monkeypatch.setattr(
        type(task), "train", lambda _self, model, **_: started.append(model) or _stop()
    )
    torch.manual_seed(4)
    expected = xavier_uniform(toy.fields.n_features, 8)
    torch.manual_seed(4)
    with pytest.raises(StopIteration):
        dataclasses.replace(QUICK, retrain=retrain).fit(task, 200)
    table = started[0].embedding
    same = torch.equal(table.table, expected * table.mask)
    assert same == (retrain == "initial")


def _stop():
    raise StopIteration


def test_record_notes_say_how_the_search_ended(toy):
    fitted = QUICK.fit(toy.task(epochs=1), 200)
    assert fitted.notes["trimmed"] in (True, False)
    assert fitted.notes["search_steps"] > 0


def test_field_thresholds_are_chosen_by_name_when_shapes_agree():
    # F = D = 3: the released code takes (F, 1)-shaped and per-dimension thresholds by size.
    fields = Fields(("a", "b", "c"), (2, 4, 3), np.zeros(9, np.int64))
    for kind, by_row in (("field", True), ("dimension", False)):
        thresholds = Thresholds(kind, fields, 3, 0.0)
        with torch.no_grad():
            thresholds.raw.copy_(torch.tensor([-9.0, 0.0, 9.0]).view_as(thresholds.raw))
        gate = thresholds().expand(9, 3)
        if by_row:
            assert torch.equal(gate[:, 0], gate[:, 2])
            assert gate[0, 0] < gate[2, 0] < gate[6, 0]
        else:
            assert torch.equal(gate[0], gate[8])
            assert gate[0, 0] < gate[0, 1] < gate[0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_soft_threshold_and_its_gradient_match_the_formula(kind):
    fields = Fields(("a", "b"), (3, 4), np.zeros(7, np.int64))
    torch.manual_seed(0)
    thresholds = Thresholds(kind, fields, 5, -1.0).double()
    with torch.no_grad():
        thresholds.raw.add_(torch.randn_like(thresholds.raw))
    table = ThresholdedTable(torch.randn(7, 5).double(), thresholds)
    weights = torch.randn(7, 5).double()

    (table.thresholded() * weights).sum().backward()
    ours = [table.values.grad, thresholds.raw.grad]

    v = table.values.detach().clone().requires_grad_()
    s = thresholds.raw.detach().clone().requires_grad_()
    spread = s[fields.field_of_feature] if kind.startswith("field") else s
    formula = torch.sign(v) * torch.relu(torch.abs(v) - torch.sigmoid(spread))
    (formula * weights).sum().backward()
    torch.testing.assert_close(table.thresholded(), formula, rtol=0, atol=1e-15)
    for mine, theirs in zip(ours, (v.grad, s.grad), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (5,), (7, 1), (7, 5)])
def test_the_compiled_soft_threshold_agrees_with_the_equation(shape, dtype):
    torch.manual_seed(1)
    start = torch.randn(7, 5, dtype=dtype), torch.rand(shape, dtype=dtype)
    upstream = torch.randn(7, 5, dtype=dtype)
    results = []
    for rule in (soft_threshold, fast_soft_threshold):
        values, threshold = (tensor.clone().requires_grad_() for tensor in start)
        pruned = rule(values, threshold)
        pruned.backward(upstream)
        results.append((pruned.detach(), values.grad, threshold.grad))
    for formula, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, formula)
    assert 0 < torch.count_nonzero(results[0][0]) < 35


@pytest.mark.parametrize("kind", KINDS)
def test_fast_search_meets_the_budget_exactly(toy, kind):
    method = dataclasses.replace(QUICK, granularity=kind, mode="fast")
    found = search(toy, method, 350)
    assert int(found.mask.sum()) == 350
    assert found.trimmed == (found.steps == method.max_steps)


@pytest.mark.parametrize("kind", ["feature", "feature_dim"])
def test_fast_search_follows_the_dense_one(toy, kind):
    standard = dataclasses.replace(QUICK, granularity=kind, max_steps=800)
    fast = dataclasses.replace(standard, mode="fast")
    budget = min(counts_by_step(toy, standard, 300))
    found = {m.mode: search(toy, m, budget) for m in (standard, fast)}
    assert not found["standard"].trimmed
    assert not found["fast"].trimmed
    assert int(found["fast"].mask.sum()) == budget
    # The count is at most a sweep of 200 steps old, so the search may stop that much later.
    assert -20 <= found["fast"].steps - found["standard"].steps <= 220
    agreement = (found["fast"].mask == found["standard"].mask).float().mean()
    assert agreement > 0.95


def test_fast_search_counts_by_the_row_what_the_table_holds(toy):
    torch.manual_seed(0)
    initial = xavier_uniform(toy.fields.n_features, 8)
    table = ThresholdedTable(initial, Thresholds("feature_dim", toy.fields, 8, -4.0))
    search = RowSearch(PEP(), toy.task(), table)
    for _ in search.steps():
        if search.updates == 500:
            break
    estimate = search.recent_count()
    assert search.count() == int(torch.count_nonzero(table.thresholded()))
    assert search.count() == pytest.approx(estimate, rel=0.05)


def test_fast_search_holds_thresholds_during_warm_up(toy):
    torch.manual_seed(0)
    method = dataclasses.replace(QUICK, mode="fast", warmup_steps=50)
    initial = xavier_uniform(toy.fields.n_features, 8)
    table = ThresholdedTable(initial, Thresholds("feature_dim", toy.fields, 8, -4.0))
    search = RowSearch(method, toy.task(), table)
    moved = []
    for _ in search.steps():
        search.count()
        moved.append(not torch.equal(table.thresholds.raw, torch.full_like(initial, -4.0)))
        if search.updates == 55:
            break
    assert moved == [False] * 50 + [True] * 5
    assert not torch.equal(table.values, initial)


@pytest.mark.parametrize("mode", ["standard", "fast"])
def test_one_search_finds_for_each_budget_what_a_search_of_its_own_finds(toy, mode):
    method = dataclasses.replace(QUICK, mode=mode, max_steps=300)
    budgets = [200, 450, 300]
    torch.manual_seed(0)
    initial = xavier_uniform(toy.fields.n_features, 8)
    together = list(method.search(toy.task(), initial, budgets))
    for found, budget in zip(together, sorted(budgets, reverse=True), strict=True):
        alone = next(method.search(toy.task(), initial, [budget]))
        assert (found.steps, found.trimmed) == (alone.steps, alone.trimmed)
        # To count exactly, the fast search brings rows up to date that would have waited.
        agreement = (found.mask == alone.mask).float().mean()
        assert agreement == 1 if mode == "standard" else agreement > 0.97


@pytest.mark.parametrize("mode", ["standard", "fast"])
def test_a_target_above_zero_keeps_thresholds_rising(toy, mode):
    # Nothing but L2 moves the threshold of a feature that never occurs.
    unseen = int(toy.fields.offsets[0])
    assert toy.fields.frequencies[unseen] == 0
    reached = {}
    for target in (0.0, 6.0):
        thresholds = Thresholds("feature_dim", toy.fields, 8, -0.5, target)
        torch.manual_seed(0)
        table = ThresholdedTable(xavier_uniform(toy.fields.n_features, 8), thresholds)
        method = dataclasses.replace(QUICK, threshold_target=target, threshold_rate=1.0)
        task = toy.task()
        model = task.model(table)
        kind = "adam" if mode == "standard" else "lazy-adam"
        optimizer = method.optimizer(task, model, thresholds, kind)
        for step in task.steps(model, optimizer):
            if step.number == 200:
                break
        task.flush(optimizer)
        gate = thresholds().detach()[unseen].mean()
        reached[target] = float(torch.logit(gate))
    # A rate of 1e-2 a step for 200 steps.
    assert reached[0.0] == pytest.approx(0.0, abs=0.1)
    assert reached[6.0] == pytest.approx(1.5, abs=0.2)


def test_fast_has_defaults_of_its_own_that_options_override():
    fast = PEP.from_options({"mode": "fast"})
    assert {name: getattr(fast, name) for name in FAST} == FAST
    assert PEP.from_options({"mode": "fast", "warmup_steps": 5}).warmup_steps == 5
    assert PEP.from_options(fast.options()) == fast
    for mode in ("standard", "reference"):
        assert PEP.from_options({"mode": mode}) == PEP(mode=mode)
    assert PEP.from_options({}) == PEP()
