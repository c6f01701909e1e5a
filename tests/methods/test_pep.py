"""PEP's own rules: where the search stops, what it keeps, what is trained again."""

import dataclasses

import numpy as np
import pytest
import torch

from pepbench import pep_search
from pepbench.data.splits import Rows
from pepbench.errors import Infeasible
from pepbench.method import Fitted, PlainTable, xavier_uniform
from pepbench.pep import EPOCHS, PEP, ThresholdedTable, Thresholds, soft_threshold
from pepbench.pep_search import (
    DenseSearch,
    RowSearch,
    fast_soft_threshold,
    new_search,
    refilled,
)
from pepbench.tables.fields import Fields
from pepbench.tables.rows import release, state_of
from pepbench.training import optimizers

QUICK = PEP(init=-2.0, max_steps=400)
EVENLY = PEP.from_options({"schedule": "epochs", "search_epochs": 8})
KINDS = ("global", "dimension", "feature", "field", "feature_dim", "field_dim")


@pytest.fixture
def by_rows(monkeypatch):
    """Make every search go by rows, however small its table."""
    monkeypatch.setattr(optimizers, "LAZY_FROM", 0.0)


def thresholded_model(toy, method, task):
    torch.manual_seed(0)
    return method.thresholded(task, xavier_uniform(toy.fields.n_features, 8))


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
    optimizer = task.optimizer(model)
    for step in task.steps(model, optimizer):
        counts.append(int(torch.count_nonzero(table.thresholded())))
        if step.number == steps:
            return counts


@pytest.mark.parametrize("kind", KINDS)
def test_search_stops_at_the_first_step_within_budget(toy, kind):
    method = dataclasses.replace(QUICK, granularity=kind, exact=False)
    counts = counts_by_step(toy, method, 300)
    budget = min(counts) + (counts[0] - min(counts)) // 2
    first = next(step for step, count in enumerate(counts) if count <= budget)
    found = search(toy, method, budget)
    assert (found.steps, found.trimmed) == (first, False)
    assert int(found.mask.sum()) == counts[first] <= budget


@pytest.mark.parametrize("option", [{}, {"exact": False}])
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
    with pytest.raises(Infeasible, match=r"after 3 steps.*schedule=epochs"):
        search(toy, method, 100)


def test_a_warm_up_is_the_full_tables_fit(toy):
    # The search starts from the best epoch of a training with early stopping.
    method = dataclasses.replace(EVENLY, init=-100.0)
    model = thresholded_model(toy, method, toy.task(epochs=6, patience=1))
    torch.manual_seed(0)
    task = toy.task(epochs=6, patience=1)
    full = task.train(task.model(PlainTable(toy.fields.n_features, 8)))
    assert torch.equal(model.embedding.values, full.model.embedding.table)
    assert task.validate(model) == full.validation
    assert torch.equal(
        model.embedding.thresholds.raw, torch.full((87, 8), -100.0 - method.threshold_target)
    )


@pytest.mark.parametrize(("most", "epochs"), [(0, 0), (2, 2), (100, 4)])
def test_a_warm_up_takes_no_more_epochs_than_allowed(toy, most, epochs):
    task = toy.task(patience=10)
    thresholded_model(toy, dataclasses.replace(EVENLY, warmup_epochs=most), task)
    assert task.samples == epochs * len(toy.train.labels)


@pytest.mark.parametrize(
    ("rows", "batch_size", "search_epochs"), [(600, 32, 2), (6000, 256, 2), (6000, 256, 8)]
)
@pytest.mark.parametrize("l2", [1e-6, 1e-2])
def test_a_search_in_epochs_ends_within_them(toy, rows, batch_size, search_epochs, l2):
    task = dataclasses.replace(toy, train=Rows(toy.train.ids[:rows], toy.train.labels[:rows])).task(
        batch_size=batch_size, l2=l2
    )
    method = dataclasses.replace(EVENLY, search_epochs=search_epochs, warmup_epochs=1)
    budgets = [int(toy.full_parameters * share) for share in (0.5, 0.1, 0.01)]
    initial = xavier_uniform(toy.fields.n_features, 8)
    outcomes = list(method.search(task, initial, budgets))
    last = search_epochs * -(-rows // batch_size)
    assert task.samples <= (search_epochs + 1) * rows + batch_size
    for found, budget in zip(outcomes, budgets, strict=True):
        assert int(found.mask.sum()) == budget
        assert found.steps == last if found.trimmed else found.steps < last
    # The pull of L2 is what takes thresholds to the end of their way.
    assert outcomes[-1].trimmed == (l2 == 1e-6)


@pytest.mark.parametrize("lazy_from", [0.0, np.inf])
@pytest.mark.parametrize("retrain", ["initial", "searched", "new"])
def test_second_training_starts_from_the_values_that_retrain_names(
    toy, retrain, lazy_from, monkeypatch
):
    monkeypatch.setattr(optimizers, "LAZY_FROM", lazy_from)
    method = dataclasses.replace(EVENLY, retrain=retrain, warmup_epochs=0)
    task = toy.task(epochs=1)
    torch.manual_seed(4)
    initial = xavier_uniform(toy.fields.n_features, 8)
    found = next(method.search(task, initial, [200]))
    monkeypatch.setattr(type(task), "train", lambda _self, model, **_: Fitted(model, None, ()))
    start = method.retrained(task, initial, found).model
    if retrain == "new":
        bound = initial.abs().max()
        values = start.embedding.table
        assert torch.equal(values != 0, found.mask)
        assert 0.8 * bound < values.abs().max() < 1.2 * bound
        assert not torch.isclose(values, initial)[found.mask].any()
    else:
        kept = initial if retrain == "initial" else found.table
        assert torch.equal(start.embedding.table, kept * found.mask)
    weights = found.backbone.first_order.weights
    assert (state_of(weights) is None) == (lazy_from > 0)
    release(weights)  # brings all rows up to date
    same = [
        torch.equal(ours, searched)
        for ours, searched in zip(
            start.backbone.parameters(), found.backbone.parameters(), strict=True
        )
    ]
    assert all(same) == (retrain == "searched")
    assert start.backbone is not found.backbone


def test_record_notes_say_how_the_search_ended(toy):
    fitted = QUICK.fit(toy.task(epochs=1), 200)
    assert fitted.notes["trimmed"] in (True, False)
    assert fitted.notes["search_steps"] > 0


def test_an_overshot_budget_that_is_not_refilled_is_noted(toy):
    method = dataclasses.replace(QUICK, init=0.0, exact=False)
    budgets = [600, 300]
    torch.manual_seed(0)
    together = [fitted.notes for fitted in method.fit_many(toy.task(epochs=1), budgets)]
    torch.manual_seed(0)
    alone = method.fit(toy.task(epochs=1), budgets[-1])
    assert alone.model.embedding.n_parameters() < 0.9 * budgets[-1]
    assert "exact" in alone.notes["unused_budget"]
    assert together[-1] == alone.notes


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
@pytest.mark.usefixtures("by_rows")
def test_a_search_by_rows_meets_the_budget_exactly(toy, kind):
    method = dataclasses.replace(QUICK, granularity=kind)
    found = search(toy, method, 350)
    assert int(found.mask.sum()) == 350
    assert found.trimmed == (found.steps == method.max_steps)


@pytest.mark.parametrize("kind", ["feature", "feature_dim"])
def test_a_search_by_rows_follows_the_dense_one(toy, kind, request):
    method = dataclasses.replace(QUICK, granularity=kind, max_steps=800)
    budget = min(counts_by_step(toy, method, 300))
    dense = search(toy, method, budget)
    request.getfixturevalue("by_rows")
    by_rows = search(toy, method, budget)
    assert not dense.trimmed
    assert not by_rows.trimmed
    assert int(by_rows.mask.sum()) == budget
    # It looks in every fourth of these steps.
    assert -20 <= by_rows.steps - dense.steps <= 24
    agreement = (by_rows.mask == dense.mask).float().mean()
    assert agreement > 0.95


@pytest.mark.parametrize("sampled", [2**14, 44])
@pytest.mark.parametrize("kind", ["feature", "feature_dim", "field_dim"])
def test_a_short_search_by_rows_stops_where_the_budget_is_met(toy, kind, sampled, request):
    """It once looked at rows in the order of their sweeps, some hundred steps too late."""
    request.getfixturevalue("monkeypatch").setattr(pep_search, "SAMPLE_ROWS", sampled)
    method = dataclasses.replace(EVENLY, granularity=kind, threshold_l2=1e3)
    dense = search(toy, method, 350)
    request.getfixturevalue("by_rows")
    by_rows = search(toy, method, 350)
    assert not dense.trimmed
    assert not by_rows.trimmed
    assert abs(by_rows.steps - dense.steps) <= 2
    left = [int(torch.count_nonzero(found.table)) for found in (dense, by_rows)]
    assert left[1] <= 350
    assert left[1] >= 0.9 * left[0]


def test_a_search_by_rows_counts_what_the_table_holds_and_changes_nothing(toy):
    tables = []
    for looks in (True, False):
        task = toy.task()
        search = new_search(QUICK, task, thresholded_model(toy, QUICK, task), "lazy-adam")
        assert isinstance(search, RowSearch)
        counts = []
        for _ in search.steps():
            if looks and search.updates % 100 == 0:
                counts.append((search.recent_count(), search.count()))
            if search.updates == 300:
                break
        now = search.pruned_table()
        task.flush(search.optimizer)
        assert torch.equal(now, search.table.thresholded())
        tables.append(now)
        for estimate, exact in counts[2:]:
            assert exact == estimate  # All 87 rows are looked at.
            assert exact == int(torch.count_nonzero(now))
    assert torch.equal(*tables)


@pytest.mark.parametrize(("lookups", "expected"), [(16, DenseSearch), (0, RowSearch)])
def test_a_table_much_larger_than_a_batch_is_searched_by_rows(toy, lookups, expected):
    # 87 features; a batch looks up four a row.
    task = toy.task(batch_size=max(1, lookups))
    assert type(new_search(QUICK, task, thresholded_model(toy, QUICK, task))) is expected


@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
def test_the_rate_takes_untouched_thresholds_along_their_way(toy, kind):
    # Nothing but L2 moves the threshold of a feature that never occurs.
    unseen = int(toy.fields.offsets[0])
    assert toy.fields.frequencies[unseen] == 0
    method = dataclasses.replace(EVENLY, warmup_epochs=0, init=-5.0, threshold_target=10.0)
    task = toy.task()
    search = new_search(method, task, thresholded_model(toy, method, task), kind)
    reached = []
    for _ in search.steps():
        if search.updates in (48, 96):
            gate = search.table.thresholds.current(slice(unseen, unseen + 1))
            reached.append(float(torch.logit(gate.double()).mean()))
        if search.updates >= 96:
            break
    # A half of 192 steps goes a bit less than a half of the way, since the pull slackens.
    assert reached == pytest.approx([-1.4, 1.6], abs=0.3)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("method", [QUICK, EVENLY])
def test_one_search_finds_for_each_budget_what_a_search_of_its_own_finds(
    toy, method, rows, request
):
    if rows:
        request.getfixturevalue("by_rows")
    method = dataclasses.replace(method, max_steps=150, warmup_epochs=1)
    budgets = [200, 450, 300]
    torch.manual_seed(0)
    initial = xavier_uniform(toy.fields.n_features, 8)
    together = list(method.search(toy.task(), initial, budgets))
    for found, budget in zip(together, sorted(budgets, reverse=True), strict=True):
        torch.manual_seed(0)
        xavier_uniform(toy.fields.n_features, 8)
        alone = next(method.search(toy.task(), initial, [budget]))
        assert (found.steps, found.trimmed) == (alone.steps, alone.trimmed)
        assert torch.equal(found.mask, alone.mask)
        assert torch.equal(found.table, alone.table)


def test_the_schedule_in_epochs_has_defaults_of_its_own_that_options_override():
    evenly = PEP.from_options({"schedule": "epochs"})
    assert {name: getattr(evenly, name) for name in EPOCHS} == EPOCHS
    assert PEP.from_options({"schedule": "epochs", "init": -5.0}).init == -5.0
    assert PEP.from_options(evenly.options()) == evenly
    assert PEP.from_options({"schedule": "paper"}) == PEP.from_options({}) == PEP()


@pytest.mark.parametrize("schedule", ["paper", "epochs"])
def test_only_options_that_the_schedule_reads_are_tuned(schedule):
    asked = []

    class First:
        def suggest_categorical(self, name, choices):
            asked.append(name)
            return schedule if name == "schedule" else choices[0]

        def suggest_float(self, name, low, _high, **_):
            asked.append(name)
            return low

        suggest_int = suggest_float

    chosen = PEP.suggest(First(), {})
    assert chosen.schedule == schedule
    assert set(asked) == set(chosen.tuned_options({}))
    assert ("search_epochs" in asked) == (schedule == "epochs")
    fixed = PEP.suggest(First(), {"schedule": schedule, "retrain": "searched"})
    assert fixed.retrain == "searched"
