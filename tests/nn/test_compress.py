"""Compression of whole models: budgets over tables, accounting, sharing, export, refusals."""

import ast
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible, PlanError
from pepbench.nn import CompressError, PEPEmbedding, compress, export, prune, reached, report
from pepbench.pep import ThresholdedTable, Thresholds
from pepbench.serve import load
from pepbench.tables.embedding import MaskedTable, largest_entries
from pepbench.tables.fields import Fields

SIZES = {"user": (90, 8), "item": (60, 4), "tags": (30, 2)}
FULL = sum(rows * width for rows, width in SIZES.values())


class Model(nn.Module):
    def __init__(self, sizes=SIZES):
        super().__init__()
        for name, size in sizes.items():
            setattr(self, name, (nn.EmbeddingBag if name == "tags" else nn.Embedding)(*size))


def field_counts(sizes=SIZES):
    rng = np.random.default_rng(0)
    return {name: rng.integers(1, 50, rows) for name, (rows, _) in sizes.items()}


FIXED = ["qr", "hash", "robe", "tt", "low-rank", "mde", "dhe", "memcom", "hash-embedding",
         "random-mask", "unified", "frequency", "double-hash", "popularity-mask"]  # fmt: skip
EXACT = ["magnitude", "random-mask", "popularity-mask", "robe"]


@pytest.mark.slow
def test_the_plug_in_imports_neither_numba_nor_the_harness():
    code = "import sys, pepbench.nn; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(out.stdout))
    libraries = {"numba", "optuna", "pandas", "pyarrow", "pydantic", "scipy", "typer", "rich"}
    rooms = {"harness", "training", "records", "analysis", "report", "plan", "backbones", "api"}
    assert not loaded & (libraries | {f"pepbench.{room}" for room in rooms})
    data = {name for name in loaded if name.startswith("pepbench.data")}
    # The text of a value, on numpy alone, which serving needs.
    assert data <= {"pepbench.data", "pepbench.data.values"}


@pytest.mark.parametrize("method", ["magnitude", *FIXED])
@pytest.mark.parametrize("budget", ["40%", 500])
def test_tables_of_three_widths_share_one_budget(method, budget):
    torch.manual_seed(0)
    model = Model()
    allowed = int(0.4 * FULL) if budget == "40%" else budget
    found = compress(model, budget, method, field_counts())
    assert found.full_parameters == FULL
    assert found.n_parameters <= allowed
    if method in EXACT:
        assert found.n_parameters == allowed
    # No width had to do with less than it could have used of what the others left.
    assert found.n_parameters >= 0.75 * allowed
    assert report(model).n_parameters == found.n_parameters


def test_magnitude_keeps_the_largest_entries_over_all_tables():
    torch.manual_seed(0)
    model = Model()
    entries = torch.cat([getattr(model, name).weight.detach().flatten() for name in SIZES])
    compress(model, "25%")
    kept = torch.cat([getattr(model, name).weight.detach().flatten() for name in SIZES])
    expected = entries.abs().sort(descending=True).values[: FULL // 4]
    assert kept.abs().sort(descending=True).values[: FULL // 4].tolist() == expected.tolist()
    assert int(torch.count_nonzero(kept)) == FULL // 4


@pytest.mark.parametrize("method", FIXED)
def test_both_doors_count_the_same_and_draw_the_same(method):
    sizes = {name: (rows, 8) for name, (rows, _) in SIZES.items()}
    model, full = Model(sizes), 8 * sum(rows for rows, _ in sizes.values())
    found = compress(model, "40%", method, field_counts(sizes), seed=7)
    torch.manual_seed(7)
    fields = Fields(
        tuple(sizes),
        tuple(rows for rows, _ in sizes.values()),
        np.concatenate(list(field_counts(sizes).values())),
    )
    suite = Catalog().select("method", method).default().embedding(fields, 8, int(0.4 * full))
    assert found.n_parameters == suite.n_parameters()
    assert found.n_bytes == suite.n_bytes()
    ids = torch.arange(60)
    suite.eval(), model.eval()
    torch.testing.assert_close(model.item(ids), suite(ids[:, None] + 90).squeeze(1))


def trained(embedding, parameters, rows=40, weight_decay=1e-3):
    """Train vectors of one table to targets, and return them."""
    optimizer = torch.optim.Adam(parameters, lr=0.02, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(3)
    targets = torch.randn(rows, 4, generator=generator)
    for _ in range(30):
        ids = torch.randint(rows, (16,), generator=generator)
        optimizer.zero_grad()
        (embedding(ids) - targets[ids]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        return embedding(torch.arange(rows))


@pytest.mark.parametrize("method", ["qr", "robe", "low-rank", "memcom", "random-mask"])
def test_both_doors_train_to_the_same_numbers(method):
    model = nn.ModuleDict({"t": nn.Embedding(40, 4)})
    compress(model, "60%", method, seed=5)
    torch.manual_seed(5)
    fields = Fields(("t",), (40,), np.ones(40, int))
    suite = Catalog().select("method", method).default().embedding(fields, 4, 96)
    torch.testing.assert_close(
        trained(model["t"], model.parameters()),
        trained(lambda ids: suite(ids[:, None]).squeeze(1), suite.parameters()),
    )


def test_both_doors_train_pruned_tables_to_the_same_numbers():
    torch.manual_seed(0)
    model = nn.ModuleDict({"t": nn.Embedding(40, 4)})
    values = model["t"].weight.detach().clone()
    compress(model, "30%")
    suite = MaskedTable(values, largest_entries(values.abs(), 48))
    assert model["t"].n_parameters() == suite.n_parameters()
    torch.testing.assert_close(
        trained(model["t"], model.parameters()),
        trained(lambda ids: suite(ids[:, None]).squeeze(1), suite.parameters()),
    )


@pytest.mark.parametrize("granularity", ["feature_dim", "dimension", "feature", "global"])
def test_both_doors_search_alike(granularity):
    torch.manual_seed(0)
    ours = PEPEmbedding(40, 4, granularity=granularity, init=-3.0)
    fields = Fields(("t",), (40,), np.ones(40, int))
    suite = ThresholdedTable(ours.initial, Thresholds(granularity, fields, 4, -3.0))
    torch.testing.assert_close(
        trained(ours, ours.parameters()),
        trained(lambda ids: suite(ids[:, None]).squeeze(1), suite.parameters()),
    )
    assert ours.n_parameters() == suite.n_parameters() < 160
    assert ours.sparsity() == pytest.approx(1 - suite.n_parameters() / 160)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad])
def test_a_search_with_steps_reaches_its_budget_with_any_optimizer(optimizer):
    torch.manual_seed(0)
    emb = PEPEmbedding(50, 4, search_steps=40)
    opt = optimizer(emb.parameters(), lr=0.01)
    ids = torch.arange(50)
    assert not emb.reached("50%")
    for _ in range(40):
        opt.zero_grad()
        (emb(ids) - 1.0).square().mean().backward()
        opt.step()
        if emb.reached("50%"):
            break
    assert emb.reached("50%")
    pruned = emb.pruned("50%")
    assert pruned.n_parameters() == 100
    assert torch.equal(pruned.weight, emb.initial * pruned.mask)
    searched = emb.pruned("50%", values="searched")
    assert torch.equal(searched.weight, emb.weight * searched.mask)


def test_evaluation_does_not_move_the_thresholds():
    emb = PEPEmbedding(5, 2, search_steps=3).eval()
    emb(torch.arange(5))
    assert int(emb.step) == 0


def test_pep_over_several_tables_is_pruned_to_one_budget():
    torch.manual_seed(0)
    model = Model()
    before = {name: getattr(model, name).weight.detach().clone() for name in SIZES}
    compress(model, "20%", "pep:granularity=feature_dim", search_steps=10)
    assert all(torch.equal(getattr(model, n).values, before[n]) for n in SIZES)
    assert not reached(model, "20%")
    margins = torch.cat([getattr(model, name).margins().flatten() for name in SIZES])
    prune(model, "20%")
    kept = torch.cat([getattr(model, name).mask.flatten() for name in SIZES])
    assert int(kept.sum()) == int(0.2 * FULL) == report(model).n_parameters
    assert margins[kept].min() >= margins[~kept].max()
    for name in SIZES:
        assert torch.equal(getattr(model, name).weight, before[name] * getattr(model, name).mask)


def test_a_shared_module_and_a_shared_weight_are_counted_once():
    model = nn.ModuleDict(
        {"a": nn.Embedding(40, 4), "c": nn.EmbeddingBag(40, 4), "d": nn.Linear(4, 4)}
    )
    model["b"] = model["a"]
    model["c"].weight = model["a"].weight
    found = compress(model, "50%", "qr")
    assert model["a"] is model["b"]
    assert found.full_parameters == 160
    assert found.n_parameters == report(model).n_parameters <= 80
    ids = torch.arange(40)
    torch.testing.assert_close(model["c"](ids[:, None]), model["a"](ids))


@pytest.mark.parametrize("masked", ["a", "c"])
def test_a_weight_of_a_masked_table_and_a_plain_one_is_counted_once(masked):
    model = nn.ModuleDict({"a": nn.Embedding(40, 4), "c": nn.Embedding(40, 4)})
    model["c"].weight = model["a"].weight
    found = compress(model, "50%", include=masked)
    (table,) = found.tables
    assert (table.names, table.method) == ((masked,), "magnitude")
    assert (found.full_parameters, found.n_parameters) == (160, 80)


def test_a_weight_that_another_module_uses_is_left_to_magnitude():
    model = nn.ModuleDict({"words": nn.Embedding(40, 4), "logits": nn.Linear(4, 40, bias=False)})
    model["logits"].weight = model["words"].weight
    for method in ("qr", "pep"):
        with pytest.raises(CompressError, match="logits uses the weight of words"):
            compress(model, "50%", method)
    compress(model, "50%")
    optimizer = torch.optim.Adam(model.parameters())
    model["logits"](model["words"](torch.arange(5))).square().sum().backward()
    optimizer.step()
    assert int(torch.count_nonzero(model["logits"].weight)) == 80


def test_include_names_the_tables_and_the_others_stay():
    model = Model()
    found = compress(model, "50%", include=["it*", "tags"])
    assert type(model.user) is nn.Embedding
    assert {t.method for t in found.tables} == {"none", "magnitude"}
    assert found.n_parameters == 90 * 8 + (60 * 4 + 30 * 2) // 2
    with pytest.raises(CompressError, match="the model has: user, item, tags"):
        compress(Model(), "50%", include="films")


def test_a_method_that_needs_frequencies_asks_for_them_in_one_line():
    with pytest.raises(CompressError, match="give frequencies=") as raised:
        compress(Model(), "50%", "frequency")
    assert "\n" not in str(raised.value)
    with pytest.raises(CompressError, match=r"unknown table 'users'; did you mean 'user'"):
        compress(Model(), "50%", "frequency", {"users": [1]})
    with pytest.raises(CompressError, match=r"frequencies of user have shape \(1,\)"):
        compress(Model(), "50%", "frequency", {"user": [1]})
    for wrong in (-1.0, np.nan, "often"):
        with pytest.raises(CompressError, match="frequencies of user are not all numbers"):
            compress(Model(), "50%", "frequency", {"user": [wrong] * 90})


@pytest.mark.parametrize("frequency", [1 / 90, 2.5, 2.0**63, np.uint64(2**63)])
def test_frequencies_that_are_no_counts_are_refused(frequency):
    with pytest.raises(
        CompressError, match=r"frequencies of user are not all whole numbers.* give counts"
    ) as e:
        compress(Model(), "50%", "frequency", {"user": [1, *[frequency] * 89]})
    assert "\n" not in str(e.value)


def test_whole_frequencies_may_be_floats():
    states = []
    for kind in (np.int64, np.float32):
        compress(
            model := Model(),
            "50%",
            "frequency",
            {n: c.astype(kind) for n, c in field_counts().items()},
            seed=3,
        )
        states.append(model.state_dict())
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


@pytest.mark.parametrize("method", ["magnitude", "pep", "qr"])
def test_frequencies_are_checked_where_a_method_does_not_read_them(method):
    model = Model()
    with pytest.raises(CompressError, match=r"unknown table 'users'; did you mean 'user'"):
        compress(model, "50%", method, {"users": [1]})
    assert type(model.user) is nn.Embedding


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_magnitude_refuses_weights_that_are_not_finite_and_changes_nothing(value):
    model = Model()
    model.tags.weight.data[2, 1] = value
    before = [weight.detach().clone() for weight in model.parameters()]
    with pytest.raises(CompressError, match="tags has weights that are not finite") as raised:
        compress(model, "50%")
    assert "\n" not in str(raised.value)
    assert type(model.user) is nn.Embedding
    for weight, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight.nan_to_num(), old.nan_to_num())


@pytest.mark.parametrize("seed", [1.5, 2**63])
def test_a_seed_that_a_state_dict_cannot_hold_is_refused(seed):
    with pytest.raises(CompressError, match="no whole number of 64 bits"):
        compress(Model(), "50%", "qr", seed=seed)


def test_a_seed_is_not_that_of_other_devices(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    compress(Model(), "50%", "qr", seed=1)
    assert not seeded


def test_counts_of_modules_that_share_a_weight_add_up():
    rng = np.random.default_rng(0)
    counts = {name: rng.integers(1, 50, 40) for name in "ab"}
    vectors = []
    for given in (counts, {"a": counts["a"] + counts["b"]}):
        model = nn.ModuleDict({"a": nn.Embedding(40, 4), "b": nn.Embedding(40, 4)})
        model["b"].weight = model["a"].weight
        compress(model, "60%", "frequency", given, seed=1)
        vectors.append(model["a"].weight)
    assert torch.equal(*vectors)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("5%", "qr+int8"), CompressError, "rounding comes after"),
        (("5%", "sseds"), CompressError, "needs the harness"),
        (("5%", "cce"), CompressError, "clusters features anew"),
        (("50%", "uniform"), CompressError, "wide, the model needs"),
        (("5%", "magnitude:start=initial"), CompressError, "no option of magnitude"),
        (("5%", "pep:schedule=epochs"), CompressError, "search_steps"),
        (("5%", "magnitud"), PlanError, "did you mean 'magnitude'"),
        (("500%",), PlanError, "above the full table"),
        ((0.05,), CompressError, "write a text such as"),
        (("5%", "frequency", [1, 2]), CompressError, "give the counts by name, {'user': counts}"),
        (("1%", "hash"), Infeasible, "smallest possible"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_changes_nothing(arguments, error, message):
    model = Model()
    with pytest.raises(error, match=message) as raised:
        compress(model, *arguments)
    assert "\n" not in str(raised.value)
    assert [type(getattr(model, name)).__module__ for name in SIZES] == [
        "torch.nn.modules.sparse"
    ] * 3


def test_a_model_that_is_a_table_is_refused_and_keeps_its_values():
    table = nn.Embedding.from_pretrained(torch.ones(9, 2))
    with pytest.raises(CompressError, match="itself a table"):
        compress(table, "50%")
    assert table.weight.all()
    with pytest.raises(CompressError, match="itself a table"):
        prune(PEPEmbedding(9, 2), "50%")


@pytest.mark.parametrize("method", ["pep", "qr"])
def test_a_table_that_cannot_be_trained_anew_is_refused(method):
    frozen = nn.ModuleDict({"t": nn.Embedding.from_pretrained(torch.ones(9, 2))})
    with pytest.raises(CompressError, match="frozen"):
        compress(frozen, "80%", method)


def test_new_parameters_behind_ddp_are_refused(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Embedding(9, 2)))
        with pytest.raises(CompressError, match="then wrap the model by DDP"):
            compress(wrapped, "80%", "qr")
    finally:
        torch.distributed.destroy_process_group()


def test_a_wide_table_takes_what_it_needs_before_a_larger_one_has_its_share():
    # qr keeps 4 rows as they are, 1,024 entries; 60 % of both tables are 1,214.
    model = nn.ModuleDict({"few": nn.Embedding(4, 256), "many": nn.Embedding(500, 2)})
    first, second = compress(model, "60%", "qr").tables
    assert (first.n_parameters, second.n_parameters) == (1024, 190)
    model = nn.ModuleDict({"few": nn.Embedding(4, 256), "many": nn.Embedding(500, 2)})
    with pytest.raises(Infeasible, match="tables of width 256: qr: smallest possible is 1024"):
        compress(model, "40%", "qr")


def test_tables_of_another_precision_keep_it():
    model = nn.ModuleDict({"a": nn.Embedding(40, 4), "b": nn.Embedding(40, 4).bfloat16()})
    found = compress(model, "60%", "qr")
    ids = torch.arange(3)
    assert (model["a"](ids).dtype, model["b"](ids).dtype) == (torch.float32, torch.bfloat16)
    assert report(model.bfloat16()).n_bytes == report(model.float()).n_bytes == found.n_bytes


def test_a_part_of_a_model_may_be_compressed_alone(tmp_path):
    parts = {name: nn.ModuleDict({"t": nn.Embedding(40, 8)}) for name in "ab"}
    for part in parts.values():
        compress(part, "50%", "qr")
    model = nn.ModuleDict(parts)
    places = export(model, tmp_path / "out")
    for name in ("a.t", "b.t"):
        served = load(places[name]).lookup({name: ["7"]})[0, 0]
        np.testing.assert_allclose(served, model.get_submodule(name).weight[7].detach())


def test_a_weight_that_torch_computes_is_left():
    model = nn.ModuleDict({"a": nn.Embedding(9, 2), "b": nn.Embedding(9, 2)})
    nn.utils.parametrizations.weight_norm(model["a"])
    assert "left a: its weight is computed" in compress(model, "50%").notes[0]


@pytest.mark.parametrize(
    "kind",
    [
        "forward_hook",
        "forward_pre_hook",
        "full_backward_hook",
        "full_backward_pre_hook",
        "state_dict_post_hook",
        "state_dict_pre_hook",
        "load_state_dict_pre_hook",
        "load_state_dict_post_hook",
    ],
)
def test_a_table_with_hooks_is_left(kind):
    model = nn.ModuleDict({"a": nn.Embedding(9, 2), "b": nn.Embedding(9, 2)})
    getattr(model["a"], f"register_{kind}")(lambda *_: None)
    assert "left a: it has hooks" in compress(model, "50%").notes[0]
    assert type(model["a"]) is nn.Embedding


def test_hooks_of_a_replaced_weight_are_noted():
    models = [nn.ModuleDict({"a": nn.Embedding(9, 2)}) for _ in range(3)]
    for model in models:
        model["a"].weight.register_hook(lambda gradient: gradient)
    lost = ("a had hooks, which are gone with what was replaced; register them anew",)
    found = [
        compress(m, "50%", name).notes
        for m, name in zip(models, ("magnitude", "pep", "hash"), strict=True)
    ]
    assert found == [(), lost, lost]


@pytest.mark.parametrize("kind", ["forward_hook", "full_backward_hook", "state_dict_pre_hook"])
def test_hooks_that_pruning_ends_are_noted(kind):
    model = nn.ModuleDict({"a": PEPEmbedding(9, 2), "b": PEPEmbedding(9, 2)})
    getattr(model["b"], f"register_{kind}")(lambda *_: None)
    lost = "had hooks, which are gone with what was replaced; register them anew"
    assert prune(model, "50%").notes == (f"b {lost}",)
    model = nn.ModuleDict({"a": PEPEmbedding(9, 2)})
    model["a"].values.register_post_accumulate_grad_hook(lambda _: None)
    assert prune(model, "50%").notes == (f"a {lost}",)


def test_an_embedding_whose_lookup_was_replaced_is_left():
    model = nn.ModuleDict({"a": nn.Embedding(9, 2), "b": nn.Embedding(9, 2)})
    looked_up = model["a"].forward
    model["a"].forward = lambda ids: 2 * looked_up(ids)
    assert compress(model, "50%").notes == ("left a: Embedding looks up in its own way",)


def test_a_compressed_model_and_a_wrong_pattern_are_named():
    model = Model()
    compress(model, "50%", include="user")
    with pytest.raises(CompressError, match="include='films' names no embedding"):
        compress(model, "50%", include=["item", "films"])
    compress(model, "50%", include=["item", "tags"])
    with pytest.raises(CompressError, match="compressed already: user, item, tags"):
        compress(model, "5%")


def test_lists_that_hold_replaced_weights_are_noted():
    model = Model()
    model.penalised = [([model.user.weight], 1e-5)]
    model.optim = torch.optim.SGD(model.parameters(), lr=0.1)
    assert compress(model, "50%", "qr").notes == (
        "Model.penalised still holds what was replaced; set it anew",
        "Model.optim still holds what was replaced; set it anew",
    )


def test_lists_that_hold_pruned_weights_are_noted():
    model = Model()
    assert compress(model, "50%", "pep", search_steps=9).notes == ()
    model.penalised = [model.user.values]
    model.optim = torch.optim.SGD(model.parameters(), lr=0.1)
    model._order = [model.item]
    found = prune(model, "20%")
    assert found.notes == tuple(
        f"Model.{name} still holds what was replaced; set it anew"
        for name in ("penalised", "optim", "_order")
    )
    assert found.n_parameters == int(0.2 * FULL)


def test_lists_that_hold_replaced_modules_are_noted():
    model = Model()
    model._order = [model.user, model.item]
    assert compress(model, "50%", include="item").notes == (
        "Model._order still holds what was replaced; set it anew",
    )


def test_an_embedding_with_a_lookup_of_its_own_is_left():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    model = nn.ModuleDict({"a": Scaled(9, 2), "b": nn.Embedding(9, 2)})
    assert "left a: Scaled" in compress(model, "50%").notes[0]
    assert type(model["a"]) is Scaled


@pytest.mark.parametrize("method", ["none", "magnitude", "pep", *FIXED])
def test_served_vectors_are_those_of_the_model(method, tmp_path):
    torch.manual_seed(0)
    model = Model()
    if method != "none":
        compress(model, "50%", method, field_counts())
    model.eval()
    places = export(model, tmp_path / "out")
    stored = 0
    for name, (rows, width) in SIZES.items():
        table = load(places[name])
        assert table.dim == width
        served = table.lookup({name: [str(i) for i in range(rows)]})[:, 0]
        np.testing.assert_allclose(
            served, getattr(model, name).weight.detach().numpy(), rtol=1e-5, atol=1e-6
        )
        stored += table.stored_bytes
    assert stored == report(model).n_bytes


def test_an_export_takes_vocabularies_and_one_width_is_one_folder(tmp_path):
    model = nn.ModuleDict({"a": nn.Embedding(3, 4), "b": nn.Embedding(2, 4)})
    compress(model, "100%")
    places = export(model, tmp_path / "out", {"a": ["x", "y"]})
    assert set(places.values()) == {tmp_path / "out"}
    served = load(tmp_path / "out").lookup({"a": ["y", "unseen"], "b": ["1", "0"]})
    assert np.array_equal(served[:, 0], model["a"].weight.detach().numpy()[[2, 0]])
    with pytest.raises(CompressError, match="a value occurs twice"):
        export(model, tmp_path / "wrong", {"a": ["x", "x"]})
    with pytest.raises(CompressError, match="1 values for 3 ids"):
        export(model, tmp_path / "wrong", {"a": ["x"]})
    with pytest.raises(CompressError, match="unknown table 'c'"):
        export(model, tmp_path / "wrong", {"c": []})
    assert not (tmp_path / "wrong").exists()


def test_a_wrong_vocabulary_of_a_second_width_leaves_no_folder(tmp_path):
    with pytest.raises(CompressError, match="1 values for 60 ids"):
        export(Model(), tmp_path / "out", {"item": ["x"]})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("values", [[30, 7], np.array([30, 7]), ["30", "7"], [30.0, 7.0]])
def test_raw_values_may_be_numbers(values, tmp_path):
    model = nn.ModuleDict({"a": nn.Embedding(3, 4)})
    export(model, tmp_path / "out", {"a": values})
    served = load(tmp_path / "out").lookup({"a": [7, 30, 8]})[:, 0]
    assert np.array_equal(served, model["a"].weight.detach().numpy()[[2, 1, 0]])


def test_a_report_says_what_was_replaced():
    text = str(compress(Model(), "50%", "low-rank"))
    assert "user" in text
    assert "720 →" in text
    assert "low-rank" in text


@pytest.mark.parametrize("method", ["random-mask", "hash", "double-hash", "popularity-mask"])
@pytest.mark.parametrize("budget", range(1, 24))
def test_a_budget_of_a_few_numbers_is_never_exceeded(method, budget):
    model = nn.ModuleDict({f"e{width}": nn.Embedding(3, width) for width in (1, 2, 4, 8)})
    frequencies = {name: np.arange(3) + 1 for name in model}
    try:
        found = compress(model, budget, method, frequencies=frequencies)
    except (CompressError, Infeasible):
        return
    assert found.n_parameters <= budget
