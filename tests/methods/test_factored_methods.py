"""What is special to tt, dhe, mgqe, cce and cafe, against numpy, scipy and scikit-learn."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pepbench.baselines import cafe, cce, dhe, tt
from pepbench.baselines.mgqe import MultiGranularQuantised
from scipy import stats
from sklearn.cluster import KMeans

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.serve import packing
from pepbench.serve.addresses import FieldRows, Positions
from pepbench.serve.forms.composed import hash_codes
from pepbench.serve.hashing import odd_multipliers
from pepbench.tables.fields import Fields
from pepbench.tables.quantised import SCHEMES, Quantised

NAMES = ("tt", "dhe", "mgqe", "cce", "cafe")


def fields_of(*cardinalities):
    frequencies = np.random.default_rng(0).integers(0, 100, sum(cardinalities))
    return Fields(tuple(f"f{i}" for i in range(len(cardinalities))), cardinalities, frequencies)


def made(name, fields, dim, budget, **options):
    method = Catalog().load("method", name)(**options)
    build = method.training_table if name == "mgqe" else method.embedding
    return build(fields, dim, budget)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("cardinalities", "dim"), [((50, 300, 7), 16), ((1, 2, 90), 6)])
def test_smallest_size_is_feasible_and_one_parameter_less_is_not(name, cardinalities, dim):
    fields = fields_of(*cardinalities)
    with pytest.raises(Infeasible, match=rf"^{name}: smallest possible is \d+ parameters") as seen:
        made(name, fields, dim, 1)
    smallest = int(str(seen.value).split("smallest possible is ")[1].split()[0])
    assert made(name, fields, dim, smallest).n_parameters() == smallest
    with pytest.raises(Infeasible, match=f"{smallest - 1} allowed"):
        made(name, fields, dim, smallest - 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.6, 0.2, 0.08])
def test_vectors_start_with_the_variance_of_the_full_table(name, share):
    torch.manual_seed(0)
    fields, dim = fields_of(400, 1500, 20), 16
    embedding = made(name, fields, dim, int(share * fields.n_features * dim))
    with torch.no_grad():
        vectors = embedding(torch.arange(fields.n_features)[:, None])
    expected = 2.0 / (fields.n_features + dim)
    assert float(vectors.var(correction=0)) == pytest.approx(expected, rel=0.2)
    assert abs(float(vectors.mean())) < 0.2 * expected**0.5


@pytest.mark.parametrize("name", NAMES)
def test_export_survives_other_values(name):
    torch.manual_seed(0)
    fields = fields_of(50, 300, 7)
    stored = made(name, fields, 8, 1000).eval().export()
    halved = stored.with_values({key: array / 2 for key, array in stored.values().items()})
    assert halved.n_parameters == stored.n_parameters
    ids = np.array([[3, 60, 352]])
    assert halved.lookup(ids).shape == (1, 3, 8)
    if name in ("mgqe", "cce", "cafe"):
        np.testing.assert_allclose(halved.lookup(ids), stored.lookup(ids) / 2)
    if name == "tt":
        np.testing.assert_allclose(halved.lookup(ids), stored.lookup(ids) / 8, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_rounding_to_a_byte_saves_bytes(name):
    torch.manual_seed(0)
    stored = made(name, fields_of(50, 300, 7), 16, 2000).eval().export()
    rounded = Quantised.from_layout(stored, SCHEMES["int8"])
    structure = sum(array.nbytes for array in stored.structure().values())
    assert rounded.n_bytes - structure < 0.4 * (stored.n_bytes - structure)


@given(
    counts=st.lists(st.integers(1, 1000), min_size=1, max_size=50),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_packed_numbers_come_back_from_exactly_their_bits(counts, seed):
    counts = np.array(counts)
    codes = np.random.default_rng(seed).integers(0, counts)
    bits = packing.bits_needed(counts)
    assert (bits == [int(count - 1).bit_length() for count in counts]).all()
    octets = packing.packed(codes, bits)
    assert len(octets) == -(-int(bits.sum()) // 8)
    np.testing.assert_array_equal(packing.unpacked(octets, bits), codes)


class TestTensorTrain:
    def test_equals_the_dense_reconstruction(self):
        torch.manual_seed(1)
        fields = fields_of(50, 30, 7)
        embedding = made("tt", fields, 12, 700).double()
        cores = embedding.export()
        first = cores.first.reshape(-1, cores.d1, cores.r1)
        middle = cores.middle.reshape(-1, cores.r1, cores.d2, cores.r2)
        last = cores.last.reshape(-1, cores.r2, cores.d3)
        dense = np.einsum("aip,bpjq,cqk->abcijk", first, middle, last)
        dense = dense.reshape(-1, 12)[cores.positions.of(np.arange(fields.n_features))]
        ids = np.random.default_rng(0).integers(0, fields.n_features, (40, 3))
        with torch.no_grad():
            np.testing.assert_allclose(embedding(torch.from_numpy(ids)), dense[ids], atol=1e-12)
        np.testing.assert_allclose(cores.lookup(ids), dense[ids], atol=1e-12)
        assert len(np.unique(dense, axis=0)) == fields.n_features
        squares = np.square(np.einsum("aip,bpjq,cqk->abcijk", first, middle, last))
        parts = map(torch.from_numpy, (first, middle, last))
        assert tt.sum_of_squares(*parts) == pytest.approx(squares.sum())
        assert squares.mean() == pytest.approx(2 / (fields.n_features + 12))

    def test_cores_start_as_a_gaussian_without_its_centre(self):
        # FBTT keeps |z| > 2; scaling leaves the ratio of the smallest entry to the mean square.
        torch.manual_seed(0)
        embedding = made("tt", fields_of(20_000), 32, 100_000)
        tail = stats.truncnorm(2.0, np.inf)
        for core in embedding.parameters():
            magnitudes = core.detach().abs().flatten().double().numpy()
            rms = np.sqrt(np.square(magnitudes).mean())
            assert magnitudes.min() / rms == pytest.approx(2 / np.sqrt(tail.moment(2)), rel=0.01)
            scaled = 2 * magnitudes / magnitudes.min()
            assert stats.kstest(scaled, tail.cdf).statistic < 1.7 / len(scaled) ** 0.5
            assert abs(np.sign(core.detach().numpy()).mean()) < 4 / len(scaled) ** 0.5

    @pytest.mark.parametrize("which", [0, 1])
    def test_order_is_random_field_by_field(self, which):
        # Over seeds, each field is as often first as any other, and each feature of it as well.
        sizes, n_seeds = np.array([3, 2, 4]), 600
        starts = []
        for seed in range(n_seeds):
            places = Positions(sizes, seed).of(np.arange(9))
            assert sorted(places) == list(range(9))
            for of_field in np.split(places, [3, 5]):
                assert np.ptp(of_field) == len(of_field) - 1
            starts.append(
                [int(np.argmin(places)), int(np.searchsorted([3, 5], np.argmin(places), "right"))][
                    which
                ]
            )
        counts = np.bincount(starts)
        expected = [np.repeat(n_seeds / 3 / sizes, sizes), np.full(3, n_seeds / 3)][which]
        assert stats.chisquare(counts, expected).pvalue > 1e-3

    @given(n=st.integers(1, 10**6), dim=st.integers(1, 128))
    @settings(max_examples=50, deadline=None)
    def test_factors_cover_the_table_with_little_to_spare(self, n, dim):
        rows, columns = tt.row_factors(n), tt.column_factors(dim)
        assert np.prod(columns) == dim
        assert n <= np.prod(rows)
        assert np.prod(rows) - n < rows[0] * rows[1]
        brute = min(
            a - c
            for a in range(1, dim + 1)
            for b in range(1, a + 1)
            for c in range(1, b + 1)
            if a * b * c == dim
        )
        assert max(columns) - min(columns) == brute

    @given(n=st.integers(20, 5000), share=st.floats(0.05, 1.0))
    @settings(max_examples=50, deadline=None)
    def test_no_larger_rank_fits(self, n, share):
        rows, columns = tt.row_factors(n), tt.column_factors(16)
        budget = int(share * n * 16)
        if budget < tt.train_size(rows, columns, (1, 1)):
            return
        first, second = tt.largest_ranks(rows, columns, budget)
        smaller, larger = sorted((first, second))
        assert larger <= 2 * smaller
        assert tt.train_size(rows, columns, (first, second)) <= budget
        assert tt.train_size(rows, columns, (smaller + 1, smaller + 1)) > budget
        if larger < 2 * smaller:
            assert tt.train_size(rows, columns, (first + 1, second)) > budget or second > first
            assert tt.train_size(rows, columns, (first, second + 1)) > budget or first > second

    def test_says_why_it_leaves_budget_unused(self, toy):
        method = tt.TensorTrain()
        shares = {b: method.embedding(toy.fields, 8, b).n_parameters() / b for b in range(60, 400)}
        for budget in (min(shares, key=shares.get), max(shares, key=shares.get)):
            notes = method.fit(toy.task(epochs=1), budget).notes
            assert ("unused_budget" in notes) == (shares[budget] < 0.9)

    def test_nothing_as_large_as_the_table_is_made(self):
        embedding = made("tt", fields_of(4000), 16, 3000)
        largest = 0
        pack = torch.autograd.graph.saved_tensors_hooks

        def note(tensor):
            nonlocal largest
            largest = max(largest, tensor.numel())
            return tensor

        with pack(note, lambda tensor: tensor):
            embedding(torch.arange(64)[:, None] * 60).sum().backward()
        assert 0 < largest < 4000 * 16 / 4


class TestDeepHash:
    @pytest.mark.parametrize("seed", [0, 7])
    def test_codes_are_uniform(self, seed):
        ids = np.arange(20_000)
        codes = hash_codes(ids, odd_multipliers(32, seed), False, np.dtype(np.float64))
        assert np.abs(codes).max() < 1
        p_values = [
            stats.chisquare(np.histogram(column, bins=50, range=(-1, 1))[0]).pvalue
            for column in codes.T
        ]
        # 32 tests of a true hypothesis.
        assert min(p_values) > 0.01 / 32
        assert np.median(p_values) > 0.2
        correlations = np.corrcoef(codes.T)[np.triu_indices(32, 1)]
        assert np.abs(correlations).max() < 5 / np.sqrt(len(ids))

    def test_gaussian_codes_are_normal(self):
        codes = hash_codes(np.arange(20_000), odd_multipliers(16, 3), True, np.dtype(np.float64))
        assert min(stats.kstest(column, "norm").pvalue for column in codes.T) > 0.01 / 16

    @pytest.mark.slow
    def test_codes_do_not_depend_on_pythons_hash(self):
        program = (
            "import numpy as np; from pepbench.serve.hashing import odd_multipliers; "
            "print(odd_multipliers(8, 1).tobytes().hex())"
        )
        outputs = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                check=True,
                text=True,
            ).stdout.strip()
            for hash_seed in ("1", "2")
        }
        assert outputs == {odd_multipliers(8, 1).tobytes().hex()}

    @given(
        budget=st.integers(30, 20_000),
        n_layers=st.integers(1, 6),
        n_hashes=st.sampled_from([4, 100, 1024]),
    )
    @settings(max_examples=30, deadline=None)
    def test_network_fills_the_budget_with_four_times_as_many_hashes_as_units(
        self, budget, n_layers, n_hashes
    ):
        embedding = made("dhe", fields_of(40, 40), 8, budget, n_layers=n_layers, n_hashes=n_hashes)
        used, width = embedding.encoding.n_hashes, embedding.last.in_features
        depth, size = len(embedding.layers), embedding.n_parameters()
        assert sum(w.size for w in embedding.export().values().values()) == size <= budget
        # A wider network of these proportions does not fit, nor would another hash.
        assert dhe.network_size(min(n_hashes, 4 * width + 4), width + 1, depth, 8) > budget
        assert min(n_hashes, 4 * width) <= used <= n_hashes
        assert used == n_hashes or size > budget - width
        assert depth == n_layers or dhe.network_size(4, 1, depth + 1, 8) > budget

    def test_the_default_has_five_hidden_layers(self):
        assert len(made("dhe", fields_of(300, 40), 16, 2000).layers) == 5
        few = made("dhe", fields_of(40, 9, 80), 8, 91, n_hashes=4)
        assert few.n_parameters() < 0.9 * 91
        assert "n_hashes is the most" in few.unused_budget

    @pytest.mark.parametrize("codes", ["uniform", "gaussian"])
    def test_folded_network_equals_the_trained_one(self, codes):
        torch.manual_seed(0)
        fields = fields_of(60, 30)
        embedding = made("dhe", fields, 8, 900, codes=codes)
        ids = np.stack([np.arange(30), 60 + np.arange(30)], axis=1)
        for _ in range(20):
            embedding(torch.from_numpy(ids))
        embedding.eval()
        with torch.no_grad():
            ours = embedding(torch.from_numpy(ids)).numpy()
        np.testing.assert_allclose(embedding.export().lookup(ids), ours, atol=1e-6)

    def test_a_single_id_can_be_looked_up_in_training(self):
        embedding = made("dhe", fields_of(60), 8, 900)
        assert embedding(torch.tensor([[5]])).isfinite().all()


class TestMultiGranular:
    def fitted(self, toy, budget, **options):
        torch.manual_seed(0)
        return MultiGranularQuantised(**options).fit(toy.task(epochs=2), budget)

    @pytest.mark.parametrize("normalise", [False, True])
    def test_codes_are_the_nearest_centroids_that_a_feature_may_use(self, normalise):
        torch.manual_seed(0)
        fields, dim, groups = fields_of(300, 3, 90), 8, 4
        table = made("mgqe", fields, dim, 400, n_groups=groups, normalise=normalise).double()
        every = torch.arange(fields.n_features)
        with torch.no_grad():
            table.table.add_(0.02 * torch.randn_like(table.table))
            table.nearest(every, weight=1.0)
        books, codes = table.books, table.all_codes().numpy()
        vectors = table.table.detach().numpy().reshape(-1, groups, dim // groups)
        centroids = table.centroids.detach().numpy()
        assert books.counts.tolist() == [24, 3, 23]
        assert books.tail_counts.tolist() == [6, 3, 5]
        assert codes[300:303].tolist() == [[24] * groups, [25] * groups, [26] * groups]
        for x in range(fields.n_features):
            field = fields.field_of_feature[x]
            start = books.starts[field]
            allowed = books.counts[field] if books.heads[x] else books.tail_counts[field]
            for s in range(groups):
                candidates = centroids[start : start + allowed, s]
                everyone = vectors[fields.field_of_feature == field][:, None, s]
                distances = np.square(candidates - vectors[x, s]).sum(axis=1)
                if normalise:
                    all_distances = np.square(candidates - everyone).sum(axis=2)
                    distances = (distances - all_distances.mean(0)) / all_distances.std(0)
                assert start <= codes[x, s] < start + allowed
                if books.counts[field] < fields.cardinalities[field]:
                    assert distances[codes[x, s] - start] <= distances.min() + 1e-9

    def test_moving_averages_are_the_moments_of_all_features_seen(self):
        # Batches of weight 1/t average all t batches alike.
        torch.manual_seed(0)
        table = made("mgqe", fields_of(60), 8, 80, n_groups=4).double()
        with torch.no_grad():
            table.table.normal_()
        parts = torch.randperm(60).split(20)
        for t, ids in enumerate(parts, 1):
            table.nearest(ids, weight=1 / t)
        pieces = table.table.detach().view(60, 4, 2).numpy()
        for s in range(4):
            z = np.column_stack([np.square(pieces[:, s]).sum(1), pieces[:, s]])
            np.testing.assert_allclose(table.mean[0, s], z.mean(0))
            np.testing.assert_allclose(table.covariance[0, s], np.cov(z.T, bias=True))
        before = table.mean.clone()
        table.eval()(parts[0][:, None])
        assert torch.equal(table.mean, before)

    def test_codebook_use_is_the_share_of_centroids_with_a_feature(self, toy):
        fitted = self.fitted(toy, 200, n_groups=4)
        embedding = fitted.model.embedding
        used = total = 0
        for i, k in enumerate(embedding.books.counts.tolist()):
            if k < toy.fields.cardinalities[i]:
                codes = embedding.codes[toy.fields.field_of_feature == i]
                used += sum(len(set(column.tolist())) for column in codes.T)
                total += 4 * k
        assert fitted.notes["centroids_used"] == pytest.approx(used / total)

    def test_says_why_it_leaves_budget_unused(self, toy):
        note = "n_centroids is the most that a field may have"
        assert self.fitted(toy, 200, n_centroids=4).notes["unused_budget"] == note
        assert "unused_budget" not in self.fitted(toy, 200).notes

    def test_normalised_distances_use_more_of_a_codebook(self):
        # Centroids of one half far away: nobody's nearest, but still nearer to some than to others.
        torch.manual_seed(0)
        use = {}
        for normalise in (False, True):
            options = {"normalise": normalise, "n_groups": 2, "head_share": 1.0}
            table = made("mgqe", fields_of(400), 8, 40 * 8, **options)
            with torch.no_grad():
                table.centroids[20:].mul_(5.0)
                use[normalise] = table.books.use_of(table.all_codes().numpy())
        assert use[False] < 0.6 < 0.7 < use[True]

    def test_a_vector_on_a_centroid_gets_it_unless_distances_are_normalised(self):
        torch.manual_seed(0)
        kept = {}
        for options in ({}, {"normalise": True}):
            options |= {"n_groups": 4, "head_share": 1.0}
            table = made("mgqe", fields_of(400), 8, 40 * 8, **options)
            with torch.no_grad():
                table.table[:40] = table.centroids.flatten(1)
                codes = table.nearest(torch.arange(40))
            kept["normalise" in options] = (codes == torch.arange(40)[:, None]).float().mean()
        assert kept[False] == 1.0
        assert kept[True] < 0.7

    def test_heads_are_the_most_frequent_of_each_field(self):
        fields = fields_of(30, 10)
        heads = MultiGranularQuantised(head_share=0.2).heads(fields)
        for start, stop, n in ((0, 30, 6), (30, 40, 2)):
            inside, frequencies = heads[start:stop], fields.frequencies[start:stop]
            assert inside.sum() == n
            assert frequencies[inside].min() >= frequencies[~inside].max()

    def test_gradient_passes_straight_through_to_table_and_centroids(self):
        torch.manual_seed(0)
        table = made("mgqe", fields_of(50, 9), 8, 200, commitment=0.0).double()
        ids = torch.tensor([[3, 52], [4, 53], [3, 51]])
        weight = torch.randn(3, 2, 8, dtype=torch.float64)
        (table(ids) * weight).sum().backward()
        expected = torch.zeros(59, 8, dtype=torch.float64).index_add_(
            0, ids.flatten(), weight.view(-1, 8)
        )
        torch.testing.assert_close(table.table.grad, expected)
        codes = table.all_codes()[ids.flatten()]
        expected = torch.zeros_like(table.centroids)
        pieces = weight.view(-1, *expected.shape[1:])
        for row, piece in zip(codes, pieces, strict=True):
            for s, code in enumerate(row):
                expected[code, s] += piece[s]
        torch.testing.assert_close(table.centroids.grad, expected)

    def test_penalty_is_the_distance_to_the_centroids(self):
        table = made("mgqe", fields_of(50, 9), 8, 200, commitment=2.0)
        ids = torch.tensor([[3, 52], [4, 53]])
        vectors = table(ids)
        distance = (vectors - table.table[ids]).square().sum() / 2
        torch.testing.assert_close(table.penalty(), 2.0 * 1.25 * distance)
        table.eval()
        table(ids)
        assert table.penalty() is None

    def test_penalty_is_a_mean_over_the_values_of_each_field(self):
        # Two rows: four values of the first field, which may hold several a row, one of the second.
        table = made("mgqe", fields_of(50, 9), 8, 200, commitment=1.0)
        ids = torch.tensor([[3], [4], [5], [6], [52]])
        distance = (table(ids) - table.table[ids]).square().sum((1, 2))
        expected = 1.25 * (distance[:4].mean() + distance[4])
        torch.testing.assert_close(table.penalty(), expected)

    def test_serving_takes_centroids_and_packed_codes_only(self, toy):
        fitted = self.fitted(toy, 200, n_groups=4, tail_divisor=2)
        embedding = fitted.model.embedding
        assert [name for name, _ in embedding.named_parameters()] == ["centroids"]
        stored, books = embedding.export(), embedding.books
        assert sorted(books.counts.tolist()) == [5, 6, 7, 7]
        # The field of five features has as many centroids, so its codes are known.
        quantised = (books.counts < books.cardinalities)[books.field_of_feature]
        bits = np.repeat(np.where(books.choices > 4, 3, 2) * quantised, 4)
        codes = stored.structure()["codes"]
        assert codes.nbytes == -(-bits.sum() // 8)
        within = packing.unpacked(codes, bits).reshape(-1, 4)
        starts = books.starts[books.field_of_feature, None]
        np.testing.assert_array_equal(
            (starts + within)[quantised], embedding.codes.numpy()[quantised]
        )
        assert stored.n_bytes == 25 * 8 * 4 + codes.nbytes + -(-87 // 8) + 3 * 4 * 4

    def test_served_gradients_are_exact(self, toy):
        embedding = self.fitted(toy, 200).model.embedding.double()
        ids = torch.from_numpy(toy.train.ids[:3].astype(np.int64))
        assert torch.autograd.gradcheck(lambda _: embedding(ids), [embedding.centroids])


class TestClustered:
    @pytest.mark.parametrize("iterations", [1, 3])
    def test_a_step_of_k_means_agrees_with_scikit_learn(self, iterations):
        vectors = np.random.default_rng(0).normal(size=(300, 4))
        centroids, nearest = cce.lloyd(vectors, vectors[:12], iterations)
        theirs = KMeans(12, init=vectors[:12], n_init=1, max_iter=iterations, tol=0).fit(vectors)
        np.testing.assert_allclose(centroids, theirs.cluster_centers_, atol=1e-12)
        np.testing.assert_array_equal(nearest, theirs.labels_)

    def test_an_empty_cluster_stays_where_it_is(self):
        vectors = np.array([[0.0], [0.2], [1.0]])
        centroids, nearest = cce.lloyd(vectors, np.array([[0.0], [1.0], [9.0]]), 5)
        np.testing.assert_allclose(centroids, [[0.1], [1.0], [9.0]])
        assert nearest.tolist() == [0, 0, 1]

    def test_clustering_leaves_each_feature_the_centroid_of_its_cluster(self):
        torch.manual_seed(0)
        fields = fields_of(60, 4, 40)
        table = made("cce", fields, 8, 8 * 34, n_pieces=2)
        books = table.codebooks
        assert books.assigned.tolist() == [8, 4, 7]
        assert books.helpers.tolist() == [8, 0, 7]
        ids = torch.arange(104)[:, None]
        with torch.no_grad():
            before, hashes = table(ids)[:, 0].numpy(), table.rows[:, 1].clone()
            table.cluster(np.random.default_rng(0), iterations=100, residual=False)
            after = table(ids)[:, 0].numpy()
        assert not torch.equal(hashes, table.rows[:, 1])
        for piece in (slice(0, 4), slice(4, 8)):
            for start, stop, k in ((0, 60, 8), (60, 64, 4), (64, 104, 7)):
                centroids, label = np.unique(after[start:stop, piece], axis=0, return_inverse=True)
                assert len(centroids) <= k
                for j in range(len(centroids)):
                    members = before[start:stop, piece][label == j]
                    np.testing.assert_allclose(members.mean(axis=0), centroids[j], atol=1e-6)
        helper_rows = torch.unique(table.rows[:60, 1])
        assert not table.table[helper_rows].any()

    def test_helpers_restart_at_the_mean_residual_of_their_features(self):
        torch.manual_seed(0)
        table, plain = (
            made("cce", fields_of(60, 4), 8, 8 * 24, n_pieces=2, hash_seed=3) for _ in range(2)
        )
        plain.load_state_dict(table.state_dict())
        ids = torch.arange(60)[:, None]
        with torch.no_grad():
            before = table(ids)[:, 0].numpy()
            for residual, into in ((True, table), (False, plain)):
                into.cluster(np.random.default_rng(0), iterations=5, residual=residual)
            centroids = plain(ids)[:, 0].numpy()
            restart = table(ids)[:, 0].numpy() - centroids
        for piece, columns in enumerate((slice(0, 4), slice(4, 8))):
            rows = table.rows[:60, 1, piece].numpy()
            for row in np.unique(rows):
                lacking = (before - centroids)[rows == row, columns]
                np.testing.assert_allclose(
                    restart[rows == row, columns],
                    lacking.mean(0, keepdims=True).repeat(len(lacking), 0),
                    atol=1e-6,
                )

    def test_assignments_stay_within_their_field_and_cost_their_bits(self):
        table = made("cce", fields_of(60, 4, 40), 8, 8 * 34, n_pieces=2)
        table.cluster(np.random.default_rng(0), iterations=5, residual=True)
        books, stored = table.codebooks, table.export()
        octets = stored.structure()["assigned"]
        assert len(octets) == (60 * 2 * 3 + 4 * 2 * 0 + 40 * 2 * 3) // 8
        rows = table.rows.numpy()
        field_of_feature = np.repeat(np.arange(3), books.cardinalities)
        start = books.starts[field_of_feature, None]
        kinds = ((rows[:, 0], 0, books.assigned), (rows[:, 1], books.assigned, books.helpers))
        for found, offset, size in kinds:
            within = found - start - np.broadcast_to(offset, 3)[field_of_feature, None]
            # A whole field has no helpers; another row stands in for them.
            there = size[field_of_feature] > 0
            assert (within[there] >= 0).all()
            assert (within < size[field_of_feature, None])[there].all()

    @given(
        cardinalities=st.lists(st.integers(1, 60), min_size=1, max_size=5),
        share=st.floats(0.05, 1.0),
    )
    @settings(max_examples=50, deadline=None)
    def test_codebooks_use_the_budget_but_for_odd_rows(self, cardinalities, share):
        sizes = np.array(cardinalities)
        n_rows = max(int(share * sizes.sum()), int(np.minimum(sizes, 2).sum()))
        assigned, helpers = cce.code_rows(sizes, n_rows, 0)
        used = int((assigned + helpers).sum())
        assert (helpers[sizes <= assigned.min()] == 0).all()
        assert n_rows - 2 < used <= n_rows
        assert ((assigned == sizes) | (assigned < 4))[helpers == 0].all()
        assert (assigned[helpers > 0] == helpers[helpers > 0]).all()

    def test_training_clusters_after_the_first_epochs(self, toy):
        torch.manual_seed(0)
        method = Catalog().load("method", "cce")(clusterings=2)
        task = toy.task(epochs=4, patience=4)
        fitted = method.fit(task, 400)
        assert fitted.notes["clusterings"] == int(fitted.model.embedding.round) <= 2
        assert task.clock.seconds["clustering"][0] > 0


class TestCafe:
    def table(self, n_hot=3, every=2):
        torch.manual_seed(0)
        hashes = FieldRows(np.array([20, 10]), np.array([4, 2]), 0)
        return cafe.HotTable(hashes, n_hot, 4, decay=0.5, migrate_every=every)

    def step(self, table, ids, strengths):
        vectors = table(torch.tensor(ids)[:, None])
        gradient = torch.zeros_like(vectors)
        gradient[:, 0, 0] = torch.tensor(strengths, dtype=gradient.dtype)
        vectors.backward(gradient)

    def hot(self, table):
        return set(torch.nonzero(table.row < len(table.owner)).flatten().tolist())

    def test_promotes_the_features_with_the_largest_gradients(self):
        table = self.table()
        rng = np.random.default_rng(0)
        total = np.zeros(30)
        for _ in range(2):
            ids, strengths = rng.integers(0, 30, 12), rng.random(12)
            np.add.at(total, ids, strengths)
            assert not self.hot(table)
            self.step(table, ids, strengths)
        with torch.no_grad():
            before = table(torch.arange(30)[:, None]).clone()
        self.step(table, [0], [0.0])
        assert self.hot(table) == set(np.argsort(-total)[:3].tolist())
        with torch.no_grad():
            torch.testing.assert_close(table(torch.arange(30)[:, None]), before)
        np.testing.assert_allclose(table.importance, 0.5 * total, rtol=1e-6)

    def test_several_lookups_of_a_step_count_as_one(self):
        """As where each table of a model looks up its own ids."""
        table = self.table(n_hot=3, every=2)
        for step in range(1, 6):
            vectors = [table(torch.tensor([[n]])) for n in (1, 2, 3)]
            assert table._steps == (step - 1) % 2
            sum(one.sum() for one in vectors).backward()
        assert self.hot(table) == {1, 2, 3}

    def test_features_that_cool_down_go_back_to_their_shared_row(self):
        table = self.table(n_hot=2, every=1)
        self.step(table, [1, 2], [1.0, 2.0])
        self.step(table, [3], [0.9])
        assert self.hot(table) == {1, 2}
        row_of_two = int(table.row[2])
        # By now 1 has 0.5 and 3 has 0.9.
        self.step(table, [5], [0.0])
        assert self.hot(table) == {2, 3}
        assert table.row[1] == table.shared_row[1]
        assert table.row[2] == row_of_two
        assert sorted(table.owner.tolist()) == [2, 3]

    def test_features_of_a_field_that_is_not_hashed_never_become_hot(self):
        torch.manual_seed(0)
        hashes = FieldRows(np.array([20, 3]), np.array([4, 3]), 0)
        table = cafe.HotTable(hashes, 2, 4, decay=1.0, migrate_every=1)
        self.step(table, [1, 2, 20, 21, 22], [1.0, 2.0, 8.0, 9.0, 7.0])
        self.step(table, [0], [0.0])
        assert self.hot(table) == {1, 2}

    def test_evaluation_neither_observes_nor_migrates(self):
        table = self.table(every=1)
        self.step(table, [1], [1.0])
        table.eval()
        table(torch.tensor([[2]])).sum().backward()
        assert not self.hot(table)
        assert table.importance.nonzero().flatten().tolist() == [1]

    @pytest.mark.parametrize(("cardinality", "key"), [(40, "hot_bitmap"), (4000, "hot")])
    def test_export_lists_hot_features_the_cheaper_way(self, cardinality, key):
        torch.manual_seed(0)
        hashes = FieldRows(np.array([cardinality]), np.array([5]), 0)
        table = cafe.HotTable(hashes, 6, 4, decay=1.0, migrate_every=1)
        ids = [30, 7, 12, 3]
        for _ in range(2):
            self.step(table, ids, [1.0, 2.0, 3.0, 4.0])
        stored = table.export()
        assert stored.hot.tolist() == sorted(ids)
        assert key in stored.structure()
        assert stored.n_parameters == 11 * 4
        every = np.arange(cardinality)[:, None]
        with torch.no_grad():
            np.testing.assert_array_equal(stored.lookup(every), table(torch.from_numpy(every)))

    def test_training_promotes_and_state_tells_who_is_hot(self, toy):
        torch.manual_seed(0)
        method = Catalog().load("method", "cafe")(migrate_every=5)
        embedding = method.fit(toy.task(epochs=2), 320).model.embedding
        owners = embedding.owner[embedding.owner >= 0]
        assert len(owners) == 20
        # Gradients of frequent features add up: most of the hot ones are among them.
        frequent = np.argsort(-toy.fields.frequencies)[:30]
        assert np.isin(owners.numpy(), frequent).mean() > 0.6
        again = method.embedding(toy.fields, 8, 320)
        again.load_state_dict(embedding.state_dict())
        ids = torch.arange(87)[:, None]
        with torch.no_grad():
            torch.testing.assert_close(again.eval()(ids), embedding.eval()(ids))
