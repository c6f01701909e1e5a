"""The modules that take torch's place: lookups, bags, masks, precision, copies, processes."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from pepbench.errors import PepbenchError
from pepbench.nn import CompressError, MaskedEmbedding, PEPEmbedding, compress

N, D = 60, 4
METHODS = ["magnitude", "pep", "qr", "robe", "tt", "low-rank", "dhe", "memcom"]


class Model(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.user = nn.Embedding(N, D, **options)
        self.item = nn.Embedding(N // 2, D)
        self.out = nn.Linear(D, 1)

    def forward(self, users, items):
        return self.out(self.user(users) * self.item(items)).squeeze(-1)


def compressed(method, seed=0, **options):
    torch.manual_seed(seed)
    model = Model(**options)
    compress(model, "50%", method)
    return model


def batch(seed=0, n=32):
    torch.manual_seed(seed)
    return torch.randint(N, (n,)), torch.randint(N // 2, (n,)), torch.rand(n).round()


def step(model, optimizer, rows):
    users, items, labels = rows
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(users, items), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_ids_of_any_shape_become_rows_of_the_table(method, shape):
    embedding = compressed(method).item.eval()
    ids = torch.randint(N // 2, shape, dtype=torch.int32)
    expected = nn.functional.embedding(ids, embedding.weight)
    torch.testing.assert_close(embedding(ids), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [-1, N])
def test_ids_out_of_range_are_refused_as_torch_does(method, wrong):
    # The tables of one width may be stored together: N is then a row of the next one.
    with pytest.raises(IndexError):
        compressed(method).user(torch.tensor([0, wrong]))


@pytest.mark.parametrize("method", ["magnitude", "pep", "qr"])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0, 3])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_bags_are_pooled_as_torch_does(method, mode, padding, flat, last):
    options = {"mode": mode, "padding_idx": padding, "include_last_offset": last}
    model = nn.ModuleDict({"tags": nn.EmbeddingBag(N, D, **options)})
    compress(model, "50%", method)
    ours, torchs = model["tags"], nn.EmbeddingBag(N, D, **options)
    torchs.load_state_dict({"weight": ours.weight.detach()})
    given = [torch.randint(8, (4, 6))]
    if flat:
        given = [torch.randint(8, (12,)), torch.tensor([0, 3, 3, 12] if last else [0, 3, 3, 7])]
    if mode == "sum":
        given = [given[0], given[1] if flat else None, torch.rand(given[0].shape)]
    torch.testing.assert_close(ours(*given), torchs(*given))


def test_a_bag_without_ids_is_zero():
    model = nn.ModuleDict({"tags": nn.EmbeddingBag(N, D)})
    compress(model, "50%")
    empty = torch.empty(0, dtype=torch.int64)
    assert model["tags"](empty, torch.tensor([0, 0])).tolist() == [[0.0] * D] * 2


@pytest.mark.parametrize("method", ["magnitude", "pep", "qr", "robe"])
def test_the_padding_row_gets_no_gradient(method):
    model = compressed(method, padding_idx=3)
    before = model.user.weight[3].detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.user(torch.tensor([3, 3])).sum().backward()
    optimizer.step()
    assert torch.equal(model.user.weight[3], before)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, weight_decay=0.01),
        lambda p: torch.optim.AdamW(p, weight_decay=0.1, fused=True),
        lambda p: torch.optim.RMSprop(p, momentum=0.9),
        lambda p: torch.optim.Adagrad(p),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop", "adagrad"],
)
def test_masked_entries_stay_zero_with_an_optimizer_from_before_the_pruning(optimizer):
    torch.manual_seed(0)
    model = Model()
    old = optimizer(model.parameters())
    for seed in range(3):
        step(model, old, batch(seed))
    weight = model.user.weight
    compress(model, "20%")
    assert model.user.weight is weight
    before = weight.detach().clone()
    for seed in range(5):
        step(model, old, batch(seed))
        assert not model.user.weight[~model.user.mask].any()
    assert not torch.equal(weight, before)


def test_masked_entries_of_a_copy_stay_zero_too():
    model = Model()
    old = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step(model, old, batch())
    compress(model, "20%")
    twin, optimizer = copy.deepcopy((model, old))
    for parameter, own in zip(model.parameters(), twin.parameters(), strict=True):
        optimizer.state[own] = copy.deepcopy(old.state[parameter])
    step(twin, optimizer, batch())
    assert not twin.user.weight[~twin.user.mask].any()


@pytest.mark.parametrize("kind", ["sgd", "sparse-adam"])
def test_sparse_gradients_of_a_masked_table_are_masked(kind):
    torch.manual_seed(0)
    table = nn.Embedding(N, D, sparse=True)
    make = torch.optim.SparseAdam if kind == "sparse-adam" else torch.optim.SGD
    optimizer = make(table.parameters(), lr=0.1)
    model = nn.ModuleDict({"t": table})

    def go():
        optimizer.zero_grad()
        model["t"](torch.tensor([1, 2, 2, 7])).square().sum().backward()
        assert model["t"].weight.grad.is_sparse
        optimizer.step()

    go()
    compress(model, "30%")
    for _ in range(3):
        go()
        assert not model["t"].weight[~model["t"].mask].any()


def test_momentum_of_rows_outside_a_sparse_gradient_moves_no_masked_entry():
    torch.manual_seed(0)
    model = nn.ModuleDict({"t": nn.Embedding(N, D, sparse=True)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step_ids in ([1, 2], [5]):
        optimizer.zero_grad()
        model["t"](torch.tensor(step_ids)).square().sum().backward()
        optimizer.step()
        if step_ids == [1, 2]:
            compress(model, "30%")
    assert not model["t"].weight[~model["t"].mask].any()


def test_masked_entries_stay_zero_where_loading_assigns_a_new_parameter():
    model, fresh = Model(), Model()
    old = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step(model, old, batch())
    compress(model, "20%"), compress(fresh, "20%")
    fresh.load_state_dict(model.state_dict(), assign=True)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(old.state_dict())
    step(fresh, optimizer, batch())
    assert not fresh.user.weight[~fresh.user.mask].any()


def test_max_norm_and_gradients_by_frequency_of_a_masked_table_are_those_of_torch():
    torch.manual_seed(0)
    options = {"max_norm": 0.7, "scale_grad_by_freq": True}
    plain, ids = nn.Embedding(N, D, **options), torch.tensor([1, 1, 5])
    model = nn.ModuleDict({"t": copy.deepcopy(plain)})
    compress(model, "100%")
    for table in (plain, model["t"]):
        table(ids).sum().backward()
    assert torch.equal(plain.weight, model["t"].weight)
    assert torch.equal(plain.weight.grad, model["t"].weight.grad)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_train(method, dtype):
    if (method, dtype) == ("dhe", torch.float16):
        pytest.skip("the sums over its 1,024 hashes exceed what 16 bits hold")
    model = compressed(method).to(dtype)
    users, items, _ = batch()
    out = model(users, items)
    out.sum().backward()
    assert out.dtype == dtype
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_autocast_trains(method):
    model = compressed(method)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(*batch()[:2]).float().sum()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_is_used_in_every_step(method):
    model = compressed(method)
    model(*batch(n=4)[:2]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_copies_and_pickles_are_independent_and_equal(method):
    model, (users, items, _) = compressed(method), batch()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        model.eval(), twin.eval()
        torch.testing.assert_close(twin(users, items), model(users, items))
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1.0)
        assert not torch.equal(twin(users, items), model(users, items))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["magnitude", "pep", "qr", "hash", "low-rank", "robe", "tt"])
def test_a_compiled_step_has_the_same_gradients(method):
    model = compressed(method)
    is_one_graph = method not in ("robe", "tt")
    whole = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=is_one_graph)
    users, items, labels = batch()
    for each in (model, whole):
        nn.functional.binary_cross_entropy_with_logits(each(users, items), labels).backward()
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad)


FIXED = ["qr", "qr:partitions=3", "hash", "robe", "tt", "low-rank", "mde", "dhe", "memcom",
         "hash-embedding", "random-mask", "unified", "quarter-power", "cafe", "frequency",
         "double-hash", "popularity-mask", "adapt"]  # fmt: skip


def counts():
    rng = np.random.default_rng(0)
    return {"user": rng.integers(1, 99, N), "item": rng.integers(1, 99, N // 2)}


@pytest.mark.parametrize("method", ["magnitude", "pep", *FIXED])
def test_a_state_dict_restores_hashes_and_masks_of_another_seed(method):
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(Model())
        compress(models[-1], "60%", method, counts())
    trained, fresh = models
    step(trained, torch.optim.SGD(trained.parameters(), lr=0.5), batch())
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.5)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    users, items, _ = batch()
    trained.eval(), fresh.eval()
    torch.testing.assert_close(fresh(users, items), trained(users, items))
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if method in ("magnitude", "hash", "robe", "low-rank"):
        assert {id(p) for p in fresh.parameters()} <= known


def test_a_state_dict_of_another_seed_leaves_the_mode_of_evaluation():
    model = compressed("dhe", seed=2).eval()
    model.load_state_dict(compressed("dhe", seed=1).state_dict())
    assert not any(module.training for module in model.modules())


def test_a_state_dict_of_another_budget_is_refused():
    small, large = Model(), Model()
    compress(small, "30%", "robe")
    compress(large, "60%", "robe")
    with pytest.raises((CompressError, RuntimeError), match=r"compress|size mismatch"):
        large.load_state_dict(small.state_dict())


def test_a_state_dict_of_other_frequencies_is_refused():
    models = [Model(), Model()]
    for model, factor in zip(models, (1, -1), strict=True):
        compress(model, "60%", "frequency", {k: 100 + factor * v for k, v in counts().items()})
    with pytest.raises(CompressError, match="another method"):
        models[0].load_state_dict(models[1].state_dict())


@pytest.mark.parametrize(
    "option", [{"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}]
)
@pytest.mark.parametrize("method", ["pep", "qr"])
def test_what_only_a_table_of_rows_has_is_refused_in_one_line(option, method):
    model = Model(**option)
    with pytest.raises(CompressError, match=next(iter(option))) as raised:
        compress(model, "50%", method)
    assert "\n" not in str(raised.value)
    assert type(model.user) is nn.Embedding


def test_errors_are_value_errors_as_torch_users_expect():
    assert issubclass(CompressError, ValueError)
    assert issubclass(CompressError, PepbenchError)


def test_the_constructor_of_pep_says_what_is_wrong():
    with pytest.raises(CompressError, match="'rows' is none of feature_dim"):
        PEPEmbedding(N, D, granularity="rows")
    for steps in (0, 2.5, "9", float("nan")):
        with pytest.raises(CompressError, match=f"search_steps={steps!r} is no whole number"):
            PEPEmbedding(N, D, search_steps=steps)
    for name, value in (("init", float("nan")), ("target", "5"), ("target", float("inf"))):
        with pytest.raises(CompressError, match=f"{name}={value!r} is no finite number"):
            PEPEmbedding(N, D, search_steps=9, **{name: value})
    with pytest.raises(CompressError, match="mode='avg' is none of sum"):
        PEPEmbedding(N, D, mode="avg")
    with pytest.raises(CompressError, match=f"padding_idx={N} is no row"):
        PEPEmbedding(N, D, padding_idx=N)


def _worker(rank, store, method, results):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    model = nn.parallel.DistributedDataParallel(compressed(method))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    users, items, labels = batch()
    mine = slice(16 * rank, 16 * rank + 16)
    for _ in range(3):
        step(model, optimizer, (users[mine], items[mine], labels[mine]))
    if rank == 0:
        torch.save(model.module.state_dict(), results)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["magnitude", "pep", "qr"])
def test_two_processes_train_as_one(method, tmp_path):
    results = tmp_path / "state.pt"
    torch.multiprocessing.spawn(_worker, (tmp_path / "store", method, results), nprocs=2)
    alone = compressed(method)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    for _ in range(3):
        step(alone, optimizer, batch())
    for name, value in torch.load(results, weights_only=True).items():
        torch.testing.assert_close(value, alone.state_dict()[name])


@pytest.mark.parametrize("method", ["magnitude", "qr"])
def test_ids_that_are_no_whole_numbers_are_refused(method):
    with pytest.raises(CompressError, match=r"ids are torch\.float32"):
        compressed(method).user(torch.tensor([3.7]))


@pytest.mark.parametrize("mask", [torch.ones(3, 1, dtype=torch.bool), torch.ones(3, 2)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(CompressError, match=r"give torch\.bool of the table's shape"):
        MaskedEmbedding(torch.ones(3, 2), mask)


def test_a_masked_table_can_be_made_by_hand():
    table = MaskedEmbedding(torch.ones(3, 2), torch.tensor([[True, False]] * 3))
    assert table(torch.tensor([1])).tolist() == [[1.0, 0.0]]
    assert table.n_parameters() == 3
