"""Methods in which features share rows of one table: adapt, unified and dedup, by brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pepbench.baselines.adapt import AdaptEmb
from pepbench.baselines.dedup import Deduplication, merged_blocks
from pepbench.baselines.unified import Unified
from scipy import stats

from pepbench.serve.addresses import BlockRows, block_lengths
from pepbench.tables.fields import Fields

DIM = 8


def fields_of(*cardinalities):
    frequencies = np.random.default_rng(0).permutation(sum(cardinalities))
    return Fields(tuple(f"f{i}" for i in range(len(cardinalities))), cardinalities, frequencies)


def vectors_of(embedding):
    with torch.no_grad():
        return embedding(torch.arange(embedding.n_features)[:, None]).squeeze(1).numpy()


class TestAdapt:
    def test_frequent_features_own_rows_and_others_share_those_of_their_field(self):
        torch.manual_seed(0)
        fields = fields_of(60, 40)
        embedding = AdaptEmb(frequent=0.5).embedding(fields, DIM, 20 * DIM)
        vectors, of_feature = vectors_of(embedding), fields.field_of_feature
        assert embedding.n_parameters() == 20 * DIM
        frequent = set(np.argsort(-fields.frequencies)[:10].tolist())
        rows, row = np.unique(vectors, axis=0, return_inverse=True)
        assert len(rows) == 20
        for x in range(100):
            sharing = np.flatnonzero(row == row[x])
            assert (sharing.tolist() == [x]) == (x in frequent) or len(sharing) == 1
            assert set(of_feature[sharing]) == {of_feature[x]}
            assert x not in frequent or len(sharing) == 1

    def test_vectors_start_with_the_variance_of_the_full_table(self):
        torch.manual_seed(0)
        fields = fields_of(3000, 40)
        vectors = vectors_of(AdaptEmb().embedding(fields, DIM, 1000 * DIM))
        np.testing.assert_allclose(vectors.var(), 2 / (3040 + DIM), rtol=0.1)


class TestUnified:
    @pytest.mark.parametrize(("lookups", "pieces"), [(1, 1), (4, 4), (8, 8)])
    def test_pieces_of_all_fields_are_rows_of_one_table(self, lookups, pieces):
        torch.manual_seed(0)
        fields = fields_of(200, 7, 90)
        embedding = Unified(lookups=lookups).embedding(fields, DIM, 333)
        width = DIM // pieces
        assert embedding.n_parameters() == 333 // width * width
        table = embedding.table.detach().numpy()
        found = vectors_of(embedding).reshape(-1, pieces, width)
        for x in range(fields.n_features):
            for j in range(pieces):
                assert (found[x, j] == table).all(axis=1).any()

    def test_lookups_that_do_not_divide_the_width_become_fewer(self):
        assert Unified(lookups=8).embedding(fields_of(50), 6, 100).hashes.n_hashes == 6
        assert Unified(lookups=4).embedding(fields_of(50), 7, 100).hashes.n_hashes == 1

    def test_features_of_all_fields_collide_alike(self):
        # Of the pairs of features, one in M shares a row, within fields and across.
        fields, n_rows, seeds = fields_of(60, 40), 50, 40
        of_feature = fields.field_of_feature
        left, right = np.triu_indices(100, 1)
        across = of_feature[left] != of_feature[right]
        hits = np.zeros(2)
        for seed in range(seeds):
            row = Unified(hash_seed=seed).embedding(fields, DIM, n_rows * DIM).rows[:, 0].numpy()
            same = row[left] == row[right]
            hits += [same[across].sum(), same[~across].sum()]
        for count, pairs in zip(hits, (across.sum(), (~across).sum()), strict=True):
            # A multiply-shift hash may collide up to twice as often as a random function.
            assert (
                stats.binomtest(int(count), int(pairs) * seeds, 1 / n_rows).statistic < 2 / n_rows
            )
            assert count / (pairs * seeds) > 0.5 / n_rows


class TestDeduplication:
    @pytest.mark.slow
    @settings(max_examples=30, deadline=None)
    @given(
        cardinalities=st.lists(st.integers(1, 30), min_size=1, max_size=4),
        block=st.sampled_from([1, 2, 4]),
        share=st.floats(0.0, 1.0),
        seed=st.integers(0, 2**31),
    )
    def test_as_few_blocks_as_possible_are_merged_and_none_beyond_the_radius(
        self, cardinalities, block, share, seed
    ):
        rng = np.random.default_rng(seed)
        lengths = block_lengths(np.array(cardinalities), block)
        table = rng.normal(size=(sum(cardinalities), 3)).astype(np.float32)
        least = int(np.unique(lengths).sum())
        n_rows = least + int(share * (len(table) - least))
        holder, radius = merged_blocks(table, lengths, n_rows, rng)
        kept = holder == np.arange(len(holder))
        assert kept[holder].all()
        np.testing.assert_array_equal(lengths, lengths[holder])
        left = int(lengths[kept].sum())
        assert n_rows - block < left <= n_rows
        starts = np.cumsum(lengths) - lengths
        for x in np.flatnonzero(~kept):
            rows = [table[starts[k] : starts[k] + lengths[k]] for k in (x, holder[x])]
            # A chain of merges adds up their distances.
            assert np.linalg.norm(rows[0] - rows[1]) <= radius * (len(holder) - kept.sum()) + 1e-6

    def test_clusters_become_one_row_each(self):
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(5, DIM))
        cluster = np.repeat(np.arange(5), 20)
        table = (centres[cluster] + 1e-3 * rng.normal(size=(100, DIM))).astype(np.float32)
        holder, radius = merged_blocks(table, np.ones(100, np.int64), 5, rng)
        np.testing.assert_array_equal(cluster[holder], cluster)
        assert len(np.unique(holder)) == 5
        assert radius < 1.0

    def test_a_block_that_is_merged_takes_over_trained_rows_of_smaller_third_quartile(self):
        table = np.array([[5.0, 5.0], [1.0, 1.0], [1.1, 1.1], [9.0, 9.0]], np.float32)
        holder, _ = merged_blocks(table, np.ones(4, np.int64), 3, np.random.default_rng(0))
        assert holder.tolist() == [0, 1, 1, 3]

    def test_which_features_make_a_block_is_drawn_at_random(self):
        sizes, seeds, together = np.array([12, 40]), 200, 0
        lengths = block_lengths(sizes, 4)
        first = np.cumsum(lengths) - lengths
        for seed in range(seeds):
            rows = BlockRows(sizes, first, 4, seed).rows_of(np.arange(52))
            assert sorted(rows.tolist()) == list(range(52))
            assert rows[:12].max() < 12
            together += rows[0] // 4 == rows[1] // 4
        assert stats.binomtest(int(together), seeds, 3 / 11).pvalue > 1e-3

    @pytest.mark.parametrize("block", [1, 4])
    def test_training_goes_on_from_the_trained_vector_of_each_feature(
        self, block, toy, monkeypatch
    ):
        task, trained, started = toy.task(), torch.randn(87, DIM), []

        def train(_, model):
            with torch.no_grad():
                started.append(model.embedding(torch.arange(87)[:, None]).squeeze(1))
            raise InterruptedError

        monkeypatch.setattr(type(task), "train", train)
        with pytest.raises(InterruptedError):
            Deduplication(block=block).merged(task, trained, torch.nn.Identity(), 87 * DIM)
        assert torch.equal(started[0], trained)

    @pytest.mark.parametrize("block", [1, 4])
    def test_features_of_merged_blocks_have_one_vector(self, toy, block):
        torch.manual_seed(0)
        fitted = Deduplication(block=block).fit(toy.task(epochs=1), 300)
        embedding = fitted.model.embedding
        # Blocks of 4 in fields of 12, 40, 5 and 30 features.
        n_blocks = {1: 87, 4: 3 + 10 + 2 + 8}[block]
        assert fitted.notes["blocks"] == n_blocks
        assert 300 - block * DIM < embedding.n_parameters() <= 300
        ids = torch.arange(87)[:, None]
        with torch.no_grad():
            vectors = embedding(ids).numpy()
        np.testing.assert_array_equal(embedding.export().lookup(ids.numpy()), vectors)
        found = len(np.unique(vectors.squeeze(1), axis=0))
        assert found == embedding.n_parameters() // DIM
        first = embedding.export().structure()["first"]
        assert first.nbytes == -(-n_blocks * int(np.ceil(np.log2(found))) // 8)
