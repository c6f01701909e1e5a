"""The hashing tricks against brute force, feature by feature."""

import itertools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pepbench.baselines.cafe import Cafe
from pepbench.baselines.cce import ClusteredCompositional
from pepbench.baselines.double_hash import DoubleHash
from pepbench.baselines.hash import Hash
from pepbench.baselines.hash_embedding import HashEmbedding
from pepbench.baselines.hashing import capped_rows
from pepbench.baselines.memcom import MEmCom
from pepbench.baselines.qr import QR, mixed_radix
from pepbench.baselines.robe import ROBE
from scipy import stats

from pepbench.errors import Infeasible
from pepbench.serve.addresses import FieldRows
from pepbench.serve.hashing import hashed, multiplier, permuted, signs
from pepbench.tables.fields import Fields
from pepbench.tables.rows import distinct

DIM = 8
METHODS = [
    Hash(),
    Hash(function="modulo", hash_seed=3),
    DoubleHash(),
    DoubleHash(combine="concat", frequent=0.0),
    HashEmbedding(),
    HashEmbedding(n_hashes=3, importance=0.05),
    HashEmbedding(start="released"),
    MEmCom(),
    MEmCom(bias=True, function="modulo"),
    QR(),
    QR(start="root", partitions=3),
    QR(start="dlrm"),
    QR(combine="add", threshold=12),
    QR(combine="concat"),
    QR(combine="concat", partitions=3),
    ROBE(),
    ROBE(chunk=2, hash_seed=9),
    ROBE(chunk=1),
]


def spelt(method):
    changed = {k: v for k, v in method.options().items() if v != getattr(type(method)(), k)}
    return ":".join([method.name, *(f"{key}={value}" for key, value in changed.items())])


def fields_of(*cardinalities):
    frequencies = np.random.default_rng(0).integers(0, 100, sum(cardinalities))
    return Fields(tuple(f"f{i}" for i in range(len(cardinalities))), cardinalities, frequencies)


def vectors_of(embedding, n_features):
    """All vectors (N, D), as float64."""
    with torch.no_grad():
        return embedding.double()(torch.arange(n_features)[None])[0].numpy()


def shaken(embedding):
    """The embedding with parameters that differ from each other wherever they can."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.normal_()
    return embedding.double()


def numbers(parameter):
    return parameter.detach().numpy()


# hash functions


def slow_hash(key, n_rows, seed, function):
    """The published functions in Python's whole numbers of any length."""
    mask = 2**64 - 1
    word = (key + 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    word ^= word >> 31
    upper = ((word * multiplier(seed, function)) & mask) >> 33
    return upper * n_rows >> 31


@settings(max_examples=100, deadline=None)
@given(
    keys=st.lists(st.integers(0, 2**62), min_size=1, max_size=5),
    n_rows=st.integers(1, 2**31 - 1),
    seed=st.integers(0, 2**31 - 1),
    function=st.integers(0, 5),
)
def test_hashes_are_those_of_exact_arithmetic_for_arrays_and_tensors(keys, n_rows, seed, function):
    expected = [slow_hash(key, n_rows, seed, function) for key in keys]
    array = np.array(keys, dtype=np.int64)
    assert hashed(array, n_rows, seed, function).tolist() == expected
    assert hashed(torch.from_numpy(array), n_rows, seed, function).tolist() == expected
    assert all(0 <= row < n_rows for row in expected)


@pytest.mark.parametrize("stride", [1, 7, 64, 1000])
@pytest.mark.parametrize("n_rows", [2, 97, 128])
def test_hashes_of_regular_ids_are_uniform_and_independent_of_each_other(n_rows, stride):
    # Fixed seeds; of 96 p-values the smallest is expected around 0.01.
    keys = np.arange(20_000) * stride
    for seed in range(4):
        first, second = (hashed(keys, n_rows, seed, j) for j in range(2))
        assert stats.chisquare(np.bincount(first, minlength=n_rows)).pvalue > 1e-4
        cells = np.bincount((first % 8) * 8 + second % 8, minlength=64).reshape(8, 8)
        used = cells[cells.sum(1) > 0][:, cells.sum(0) > 0]
        assert stats.chi2_contingency(used).pvalue > 1e-4


def slow_permuted(key, n, seed):
    """The published permutation in Python's whole numbers."""
    bits = max(1, math.ceil((n - 1).bit_length() / 2))
    left, right = divmod(key, 2**bits)
    for function in range(4):
        left, right = right, left ^ slow_hash(right, 2**bits, seed, function)
    found = left * 2**bits + right
    return found if found < n else slow_permuted(found, n, seed)


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**31 - 1))
def test_permutations_are_onto_and_the_same_in_parts(n, seed):
    keys = np.arange(n)
    places = permuted(keys, n, seed)
    assert sorted(places.tolist()) == keys.tolist()
    assert slow_permuted(n - 1, n, seed) == places[-1]
    mixed = permuted(np.repeat(keys[-1:], 3), np.array([n, n + 5, 2 * n]), seed)
    assert mixed[0] == places[-1]
    assert (mixed < [n, n + 5, 2 * n]).all()


@pytest.mark.parametrize("n", [4, 50, 64])
def test_permutations_of_many_seeds_are_uniform_and_do_not_keep_neighbours(n):
    drawn = np.stack([permuted(np.arange(n), n, seed) for seed in range(2000)])
    for column in drawn.T[:4]:
        assert stats.chisquare(np.bincount(column, minlength=n)).pvalue > 1e-4
    steps = (drawn[:, 1] - drawn[:, 0]) % n
    assert stats.chisquare(np.bincount(steps, minlength=n)[1:]).pvalue > 1e-4


def test_two_features_collide_as_often_as_by_chance():
    keys = np.arange(3000)
    rows = [hashed(keys, 500, seed) for seed in range(20)]
    pairs = sum(int((np.bincount(r) * (np.bincount(r) - 1) // 2).sum()) for r in rows)
    assert pairs / 20 == pytest.approx(3000 * 2999 / 2 / 500, rel=0.02)


def test_signs_are_balanced_and_independent_of_places():
    keys = np.arange(20_000)
    sign = signs(keys, 5, 1)
    assert set(sign.tolist()) == {-1, 1}
    assert abs(sign.sum()) < 4 * math.sqrt(20_000)
    assert abs(np.corrcoef(sign, hashed(keys, 1000, 5, 0))[0, 1]) < 0.03


@pytest.mark.slow
def test_hashes_do_not_depend_on_the_process():
    code = (
        "import json, numpy as np; from pepbench.serve.hashing import hashed; "
        "print(json.dumps(hashed(np.arange(50), 1000, 11, 2).tolist()))"
    )
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                check=True,
            ).stdout
        )
        for seed in ("0", "1")
    ]
    assert found[0] == found[1] == hashed(np.arange(50), 1000, 11, 2).tolist()


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    step=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_no_field_could_have_more_rows_without_the_largest_having_fewer(sizes, step, data):
    sizes = np.array(sizes)
    total = data.draw(st.integers(0, int(sizes.sum()) + 3))
    rows = capped_rows(sizes, total, 0, step)
    assert (rows <= sizes).all()
    assert ((rows == sizes) | (rows < 2 * step) | (rows % step == 0)).all()
    assert rows.sum() == min(total, sizes.sum()) or total - step < rows.sum() < total
    # A field that is not whole has as many rows as any other, up to rounding.
    hashed = rows < sizes
    assert not hashed.any() or rows.max() - rows[hashed].min() <= step
    assert sorted(capped_rows(sizes[::-1], total, 1, step)) == sorted(rows)


@pytest.mark.parametrize(
    ("method", "n_rows"),
    [
        *((method, 30) for method in METHODS),
        *((ClusteredCompositional(), n_rows) for n_rows in (30, 18, 9)),
        # Half of cafe's rows wait for hot features.
        *((Cafe(), n_rows) for n_rows in (30, 18)),
    ],
    ids=lambda value: value if isinstance(value, int) else spelt(value),
)
def test_small_fields_never_share_a_vector(method, n_rows):
    torch.manual_seed(0)
    weights = 106 * (1 + method.bias) if isinstance(method, MEmCom) else 0
    fields = fields_of(100, 3, 3)
    embedding = method.embedding(fields, DIM, n_rows * DIM + weights)
    rows = getattr(getattr(embedding, "hashes", None), "rows", None)
    if rows is not None:
        assert rows.tolist() == [24, 3, 3]
    vectors = vectors_of(embedding, 106)
    for field in (slice(100, 103), slice(103, 106)):
        assert len(np.unique(vectors[field], axis=0)) == 3


@pytest.mark.parametrize("n_pieces", [1, 4])
def test_fields_of_two_or_three_clustered_rows_never_share_one_vector(n_pieces):
    fields = fields_of(100, 3, 3)
    for hash_seed, n_rows in itertools.product(range(5), range(6, 15)):
        method = ClusteredCompositional(n_pieces=n_pieces, hash_seed=hash_seed)
        embedding = method.embedding(fields, DIM, n_rows * DIM)
        books = embedding.codebooks
        found = vectors_of(embedding, 106)
        stored = embedding.export().lookup(np.arange(106)[None])[0]
        np.testing.assert_allclose(stored, found, rtol=1e-6)
        vectors = np.split(found, np.cumsum(books.cardinalities)[:-1])
        for of_field, assigned, helpers in zip(vectors, books.assigned, books.helpers, strict=True):
            distinct_vectors, counts = np.unique(of_field, axis=0, return_counts=True)
            assert len(distinct_vectors) >= min(assigned + helpers, len(of_field))
            if n_pieces == 1 and not helpers:
                assert counts.max() - counts.min() <= 1


def test_rows_stay_within_their_field_and_full_fields_are_not_hashed():
    cardinalities, rows = np.array([50, 7, 300]), np.array([20, 7, 100])
    for function in ("universal", "modulo"):
        found = FieldRows(cardinalities, rows, 0, function).rows_of(np.arange(357))
        starts = np.repeat([0, 20, 27], cardinalities)
        within = found - starts
        assert (within >= 0).all()
        assert (within < np.repeat(rows, cardinalities)).all()
        assert len(set(found[50:57])) == 7


def test_distinct_features_name_each_feature_of_a_batch_once():
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 50, (40, 3)))
    features, local = distinct(ids, 60)
    assert sorted(features.tolist()) == sorted(set(ids.reshape(-1).tolist()))
    assert torch.equal(features[local], ids)


def test_distinct_features_do_not_depend_on_other_threads():
    rng = np.random.default_rng(0)
    batches = [torch.from_numpy(rng.integers(0, 20_000, (8192, 1))) for _ in range(400)]

    def is_right(ids):
        features, local = distinct(ids, 20_000)
        return len(features) == len(np.unique(ids)) and torch.equal(features[local], ids)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(is_right, batches))


# all


@pytest.mark.parametrize("method", METHODS, ids=spelt)
def test_vectors_start_with_the_variance_of_the_full_table_at_a_small_size(method):
    if getattr(method, "start", "") in ("dlrm", "released"):
        pytest.skip("starts as the released code does")
    torch.manual_seed(0)
    fields = fields_of(4000, 900, 100)
    drawn = [vectors_of(method.embedding(fields, 16, int(5000 * 16 * 0.3)), 5000) for _ in range(4)]
    # In one draw, a table of two or three quotients can be far from its mean.
    assert np.var(drawn) == pytest.approx(2 / 5016, rel=0.2)
    assert abs(np.mean(drawn)) < 0.2 * np.std(drawn)


@pytest.mark.parametrize("method", METHODS, ids=spelt)
def test_size_comes_as_close_to_the_budget_as_whole_rows_allow(method):
    fields = fields_of(400, 90, 10)
    for budget in range(1500, 8001, 487):
        try:
            size = method.embedding(fields, 16, budget).n_parameters()
        except Infeasible:
            assert budget < 2500
            continue
        assert size <= budget
        # Composed tables of half the width end where quotients would have a single row.
        if not isinstance(method, QR):
            assert size > budget - 17
        elif method.combine != "concat":
            assert size > budget - 17 * 3
        elif method.partitions == 2 and budget <= 4000:
            assert size > budget - 17


@pytest.mark.parametrize("method", METHODS, ids=spelt)
def test_smallest_size_is_named_and_can_be_had(method):
    fields = fields_of(60, 9, 30)
    with pytest.raises(Infeasible, match=rf"^{method.name}: smallest possible is \d+ ") as caught:
        method.embedding(fields, DIM, 1)
    smallest = int(str(caught.value).split("smallest possible is ")[1].split()[0])
    embedding = method.embedding(fields, DIM, smallest)
    assert embedding.n_parameters() == smallest
    vectors = vectors_of(embedding, 99)
    np.testing.assert_allclose(embedding.export().lookup(np.arange(99)), vectors, atol=1e-12)
    with pytest.raises(Infeasible, match=f"{smallest - 1} allowed"):
        method.embedding(fields, DIM, smallest - 1)


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
@pytest.mark.parametrize("method", METHODS, ids=spelt)
@pytest.mark.slow
def test_trains_under_either_optimizer_to_vectors_that_export_reproduces(toy, method, optimizer):
    fitted = method.fit(toy.task(optimizer=optimizer, epochs=2), 400)
    embedding = fitted.model.embedding
    vectors = vectors_of(embedding, 87)
    np.testing.assert_allclose(embedding.export().lookup(np.arange(87)), vectors, atol=1e-12)
    assert embedding.n_parameters() == embedding.export().n_parameters <= 400


@pytest.mark.parametrize("method", METHODS, ids=spelt)
def test_gradients_are_exact_where_rows_are_shared(toy, method):
    embedding = shaken(method.embedding(toy.fields, 3, 200))
    ids = torch.from_numpy(toy.train.ids[:3].astype(np.int64))
    assert torch.autograd.gradcheck(lambda *_: embedding(ids), list(embedding.parameters()))


@pytest.mark.parametrize("method", METHODS, ids=spelt)
def test_nothing_but_parameters_is_saved_and_constants_cost_few_bytes(method):
    embedding = method.embedding(fields_of(4000, 900, 100), 16, 30_000)
    assert set(embedding.state_dict()) == {name for name, _ in embedding.named_parameters()}
    bits = 5000 / 8 if isinstance(method, DoubleHash) else 0
    assert embedding.n_bytes() <= 4 * embedding.n_parameters() + bits + 100


# hash


@pytest.mark.parametrize("function", ["universal", "modulo"])
def test_hash_equals_brute_force(function):
    fields = fields_of(40, 5, 20)
    embedding = shaken(Hash(function=function, hash_seed=4).embedding(fields, DIM, 30 * DIM))
    rows = embedding.hashes.rows
    assert rows.sum() == 30
    table, expected, start, x = numbers(embedding.table), [], 0, 0
    for n, m in zip(fields.cardinalities, rows.tolist(), strict=True):
        for _ in range(n):
            row = x % m if function == "modulo" or m == n else slow_hash(x, m, 4, 0)
            expected.append(table[start + row])
            x += 1
        start += m
    np.testing.assert_allclose(vectors_of(embedding, 65), expected)


def test_whole_budget_of_hash_is_the_full_table(toy):
    embedding = Hash().embedding(toy.fields, DIM, 87 * DIM)
    assert sorted(embedding.row.tolist()) == list(range(87))


# double-hash


def rows_with(torch_seed, hash_seed):
    torch.manual_seed(torch_seed)
    return Hash(hash_seed=hash_seed).embedding(fields_of(300, 50), DIM, 40 * DIM).row.tolist()


def test_hash_functions_differ_between_seeds_unless_one_is_asked_for():
    assert rows_with(1, -1) == rows_with(1, -1)
    assert rows_with(1, -1) != rows_with(2, -1)
    assert rows_with(1, 5) == rows_with(2, 5)


def test_double_hash_gives_own_rows_to_features_above_a_cut_and_two_hashes_to_the_others():
    fields = fields_of(400, 5, 200)
    method = DoubleHash(frequent=0.4, hash_seed=0)
    rows = method.embedding(fields, DIM, 100 * DIM).rows
    owns, frequencies = rows.flags.at(np.arange(605)), fields.frequencies
    # There are rows enough for the whole field of 5; of its features, some are frequent as well.
    assert owns[400:405].all()
    n_own = 40 + 5 - np.isin(np.argsort(-frequencies, kind="stable")[:40], range(400, 405)).sum()
    assert owns.sum() == n_own
    outside = np.r_[0:400, 405:605]
    owned, others = outside[owns[outside]], outside[~owns[outside]]
    assert frequencies[owned].min() >= frequencies[others].max()
    first, second = rows.rows_of(np.arange(605)).T
    np.testing.assert_array_equal(first[owns], np.arange(n_own))
    np.testing.assert_array_equal(second[owns], np.arange(n_own))
    assert n_own + rows.hashed.rows.sum() == 100
    start = n_own
    for field, m in enumerate(rows.hashed.rows.tolist()):
        here = np.flatnonzero(~owns & (fields.field_of_feature == field))
        expected = [[start + slow_hash(x, m, 0, j) for x in here.tolist()] for j in range(2)]
        np.testing.assert_array_equal([first[here], second[here]], expected)
        start += m
    # Two hashes collide together far less often than one.
    hashed_pairs = set(zip(first[~owns].tolist(), second[~owns].tolist(), strict=True))
    assert len(hashed_pairs) > 4 * len(set(first[~owns].tolist()))


@pytest.mark.parametrize("combine", ["sum", "concat"])
def test_double_hash_equals_brute_force(combine):
    fields = fields_of(40, 5, 20)
    embedding = shaken(DoubleHash(combine=combine).embedding(fields, 5, 30 * 5))
    table, expected = numbers(embedding.table), []
    for x, (one, two) in enumerate(embedding.rows.rows_of(np.arange(65)).tolist()):
        if embedding.rows.flags.at(np.int64(x)):
            expected.append(table[one])
        elif combine == "sum":
            expected.append(table[one] + table[two])
        else:
            expected.append(np.concatenate([table[one, :2], table[two, 2:]]))
    np.testing.assert_allclose(vectors_of(embedding, 65), expected)


def test_double_hash_searches_the_share_of_frequent_rows():
    tuned = {option.name for option in DoubleHash.described_options() if option.tuned}
    assert tuned == {"frequent"}
    fields = fields_of(400, 5, 200)
    for share in (0.0, 0.5, 1.0):
        rows = DoubleHash(frequent=share).embedding(fields, DIM, 100 * DIM).rows
        # One row a field is left for the others, and the smallest field is whole but for that.
        wanted = min(share * 100, 97)
        assert wanted <= rows.flags.count <= wanted + 5


# hash-embedding


@pytest.mark.parametrize("n_hashes", [1, 2, 3])
@pytest.mark.parametrize("budget", [60, 300, 500])
def test_hash_embedding_equals_brute_force(n_hashes, budget):
    method = HashEmbedding(n_hashes=n_hashes, hash_seed=2)
    embedding = shaken(method.embedding(fields_of(40, 5, 20), DIM, budget))
    pool, importance = numbers(embedding.pool), numbers(embedding.importance)
    (m, _), (K, k) = pool.shape, importance.shape
    assert k == n_hashes
    expected = []
    for x in range(65):
        p = importance[x if K == 65 else slow_hash(x, K, 2, 0)]
        rows = [slow_hash(x, m, 2, j) for j in range(1, k + 1)]
        expected.append(sum(p[j] * pool[row] for j, row in enumerate(rows)))
    np.testing.assert_allclose(vectors_of(embedding, 65), expected)


def test_hash_embedding_counts_its_pool_and_its_importances():
    fields = fields_of(400, 50, 50)
    for budget in (100, 500, 2000, 4000):
        embedding = HashEmbedding(importance=0.3).embedding(fields, DIM, budget)
        (m, _), (K, k) = embedding.pool.shape, embedding.importance.shape
        assert embedding.n_parameters() == m * DIM + K * k
        assert budget - DIM < embedding.n_parameters() <= budget
        assert K == 500 or 0 <= K * k - 0.3 * budget < DIM + k
        assert m <= 500


def test_hash_embedding_can_start_as_the_released_code_does():
    # Svenstrup et al.: rows are N(0, 0.1²), importances N(0, 0.0005²).
    torch.manual_seed(0)
    embedding = HashEmbedding(start="released").embedding(fields_of(4000), 64, 500 * 64)
    for table, scale in ((embedding.pool, 0.1), (embedding.importance, 0.0005)):
        assert stats.kstest(numbers(table).ravel(), "norm", args=(0, scale)).pvalue > 1e-3
    assert np.abs(vectors_of(embedding, 4000)).max() < 0.0015


# memcom


@pytest.mark.parametrize("bias", [False, True])
def test_memcom_equals_brute_force_and_counts_a_number_a_feature(bias):
    fields = fields_of(40, 5, 20)
    method = MEmCom(bias=bias, function="modulo")
    embedding = shaken(method.embedding(fields, DIM, 300))
    rows = embedding.hashes.rows.tolist()
    assert embedding.n_parameters() == sum(rows) * DIM + 65 * (1 + bias)
    table, own, expected, start, x = numbers(embedding.table), numbers(embedding.own), [], 0, 0
    for n, m in zip(fields.cardinalities, rows, strict=True):
        for _ in range(n):
            vector = table[start + x % m] * own[x, 0]
            expected.append(vector + own[x, 1] if bias else vector)
            x += 1
        start += m
    np.testing.assert_allclose(vectors_of(embedding, 65), expected)


@pytest.mark.parametrize(("budget", "left_out"), [(205, True), (206, None)])
def test_memcom_leaves_out_a_bias_that_does_not_fit(toy, budget, left_out):
    # One row for each of 4 fields, and one or two numbers for each of 87 features.
    fitted = MEmCom(bias=True).fit(toy.task(epochs=1), budget)
    embedding = fitted.model.embedding
    assert fitted.notes.get("bias_left_out") == left_out
    assert embedding.own.shape == (87, 1 if left_out else 2)


# qr


@pytest.mark.parametrize("partitions", [2, 3, 4])
@pytest.mark.parametrize("combine", ["mult", "add", "concat"])
def test_qr_partitions_are_complementary(combine, partitions):
    # Every feature of a field has rows that no other has together, or one of its own.
    fields = fields_of(400, 1, 90, 7, 2)
    method = QR(combine=combine, partitions=partitions)
    tried = 0
    for budget in range(200, 8001, 211):
        try:
            embedding = method.embedding(fields, 16, budget)
        except Infeasible:
            continue
        tried += 1
        partition = embedding.partition
        rows = partition.rows_of(np.arange(500))
        assert len({tuple(row) for row in rows.tolist()}) == 500
        assert (rows < np.maximum(partition.n_rows.sum(0), 1)).all()
        assert (partition.radices.prod(1) >= fields.cardinalities).all()
        assert sum(table.numel() for table in embedding.tables) == embedding.n_parameters()
    assert tried > 20


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3000), count=st.integers(2, 5), data=st.data())
def test_mixed_radices_suffice_and_are_near_equal(n, count, data):
    m = data.draw(st.integers(1, n))
    radices = mixed_radix(n, np.array([m]), count)[0].tolist()
    assert radices[0] == m
    assert math.prod(radices) >= n
    quotient = -(-n // m)
    best = min(
        sum(others)
        for others in itertools.combinations_with_replacement(
            range(1, math.ceil(quotient ** (1 / (count - 1)) + 1e-9) + 2), count - 1
        )
        if math.prod(others) >= quotient
    )
    assert best <= sum(radices[1:]) <= best + count


@pytest.mark.parametrize("combine", ["mult", "add", "concat"])
def test_qr_equals_brute_force(combine):
    fields = fields_of(40, 3, 20)
    embedding = shaken(QR(combine=combine).embedding(fields, 5, 36 * 5))
    partition = embedding.partition
    radices = partition.radices
    remainder, quotient = (numbers(table) for table in embedding.tables)
    expected, starts = [], np.zeros(2, dtype=int)
    for n, (m, q) in zip(fields.cardinalities, radices.tolist(), strict=True):
        whole = m == n
        # Codes are permuted within their field.
        codes = permuted(np.arange(n), n, partition.seed).tolist()
        assert sorted(codes) == list(range(n))
        for x in codes:
            one = remainder[starts[0] + x % m]
            if whole and combine != "concat":
                expected.append(one)
                continue
            two = quotient[starts[1] + (x if whole else x // m)]
            if combine == "concat":
                expected.append(np.concatenate([one, two]))
            else:
                expected.append(one * two if combine == "mult" else one + two)
        starts += [m, 0 if whole and combine != "concat" else n if whole else q]
    assert len(remainder) == starts[0]
    assert len(quotient) == starts[1]
    assert radices[1].tolist() == [3, 1] or combine == "concat"
    np.testing.assert_allclose(vectors_of(embedding, 63), expected)


def test_qr_can_start_as_the_released_code_does():
    # DLRM: both tables of a field of n features are U(sqrt(1/n), 1).
    torch.manual_seed(0)
    embedding = QR(start="dlrm").embedding(fields_of(1000), 64, 300 * 64)
    for table in embedding.tables:
        low = 1000**-0.5
        entries, n_entries = numbers(table), table.numel()
        assert low < entries.min() < low + 6 / n_entries
        assert 1 - 6 / n_entries < entries.max() < 1
        assert entries.mean() == pytest.approx((1 + low) / 2, abs=5 / (12 * n_entries) ** 0.5)


def test_qr_leaves_small_fields_uncompressed():
    fields = fields_of(1000, 4, 200)
    plain = QR().embedding(fields, DIM, 300 * DIM).partition
    assert plain.whole.tolist() == [False, True, False]
    assert QR(threshold=200).embedding(fields, DIM, 300 * DIM).partition.whole.tolist() == [
        False,
        True,
        True,
    ]


def test_qr_smallest_size_is_what_brute_force_finds():
    fields = fields_of(400, 90, 7)
    for count in (2, 3):
        rows = 0
        for n in fields.cardinalities:
            sums = [
                sum(radices)
                for radices in itertools.product(range(1, n + 1), repeat=2)
                if math.prod(radices) >= n
            ]
            if count == 3:
                sums = [a + b + math.ceil(n / (a * b)) for a in range(1, 60) for b in range(1, 60)]
            rows += min(*sums, n)
        with pytest.raises(Infeasible, match=f"smallest possible is {rows * DIM} parameters"):
            QR(partitions=count).embedding(fields, DIM, 1)


# robe


@pytest.mark.parametrize("chunk", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [8, 5])
@pytest.mark.parametrize("budget", [9, 67, 200])
def test_robe_uses_exactly_its_budget_and_equals_brute_force(budget, dim, chunk):
    embedding = shaken(ROBE(chunk=chunk, hash_seed=6).embedding(fields_of(40, 20), dim, budget))
    array = numbers(embedding.array)
    assert len(array) == embedding.n_parameters() == budget
    size = min(chunk, dim)
    n_chunks = math.ceil(dim / size)
    expected = np.empty((60, dim))
    wrapped = 0
    for x in range(60):
        for i in range(dim):
            key = x * n_chunks + i // size
            sign = 1 - 2 * slow_hash(key, 2, 6, 1)
            place = slow_hash(key, budget, 6, 0) + i % size
            wrapped += place >= budget
            expected[x, i] = sign * array[place % budget]
    assert wrapped or size == 1 or budget == 200
    np.testing.assert_allclose(vectors_of(embedding, 60), expected)


@pytest.mark.parametrize("dim", [1, 5, 8, 16, 100])
def test_robe_draws_every_power_of_two_up_to_the_width_equally_often(dim):
    sizes = [1 << k for k in range(8) if 1 << k <= dim]
    places = (np.arange(20 * len(sizes)) + 0.5) / (20 * len(sizes))
    drawn = [
        ROBE(chunk_place=float(place)).embedding(fields_of(9), dim, 200).addresses.chunk
        for place in places
    ]
    assert drawn == [size for size in sizes for _ in range(20)]


def test_robe_chunks_of_a_feature_are_placed_independently():
    addresses = ROBE(chunk=1).embedding(fields_of(500), DIM, 1000).addresses
    starts, _ = addresses.of(np.arange(500), np.arange)
    # With a linear hash, features that share one place would share all.
    same = starts[:, None] == starts[None]
    pairs = same[np.triu_indices(500, 1)]
    assert pairs.mean() == pytest.approx(1 / 1000, rel=0.2)
    assert (pairs.sum(1) > 2).sum() == 0


def test_vectors_of_one_number_have_no_pieces_to_join():
    with pytest.raises(Infeasible, match="take combine=mult or add"):
        QR(combine="concat").embedding(fields_of(60, 9), 1, 20)
    assert QR(combine="add").embedding(fields_of(60, 9), 1, 25).n_parameters() <= 25
