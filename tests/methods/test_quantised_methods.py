"""What is special to lsq, alpt and mpe, against torch's own quantisers and optimizers and numpy."""

import numpy as np
import pytest
import torch
from pepbench.baselines.alpt import AdaptiveLowPrecision, IntegerRows, stochastic_integers
from pepbench.baselines.alpt import step_slopes as slopes_of
from pepbench.baselines.lsq import LearnedStepSize, quantise
from pepbench.baselines.mpe import BITS, FixedBits, MixedPrecision, SoftBits

from pepbench.catalog import Catalog
from pepbench.export.folder import write_export
from pepbench.serve import load
from pepbench.tables.fields import Fields
from pepbench.tables.quantised import SCHEMES, QuantisedTable
from pepbench.training.optimizers import make_optimizer

FIELDS = Fields(("a", "b"), (7, 4), np.array([0, 9, 5, 4, 2, 1, 1, 0, 12, 8, 2]))
EVERY = torch.arange(FIELDS.n_features)[:, None]


def clear_of_bounds(values, steps, bits):
    """Values with zeros where torch's mask, which looks at the rounded number, is not eq. 3's."""
    ratios, top = values / steps[:, None], 2 ** (bits - 1) - 1
    beyond = torch.maximum(ratios - top, -top - 1 - ratios)
    return values.masked_fill((beyond > 0) & (beyond <= 0.5), 0.0)


def learnable_fake_quantise(values, steps, bits):
    """Torch's implementation of LSQ, a step for each row."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zeros = torch.zeros(len(steps))
    return torch._fake_quantize_learnable_per_channel_affine(
        values, steps, zeros, 0, low, high, 1.0
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
class TestLearnedSteps:
    def test_values_and_gradients_are_those_of_torchs_learnable_quantiser(self, bits):
        torch.manual_seed(bits)
        values, pull = torch.randn(30, 5), torch.randn(30, 5)
        steps = torch.rand(30) * 2.0 ** (2 - bits) + 0.01
        values = clear_of_bounds(values, steps, bits)
        found, expected = [], []
        for function, into in ((quantise, found), (learnable_fake_quantise, expected)):
            inputs = values.clone().requires_grad_(), steps.clone().requires_grad_()
            shaped = inputs[1][:, None] if function is quantise else inputs[1]
            result = function(inputs[0], shaped, bits)
            (result * pull).sum().backward()
            into += [result.detach(), inputs[0].grad, inputs[1].grad]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_gradients_beyond_the_bounds_are_those_of_equations_3_and_5(self, bits):
        top = 2 ** (bits - 1) - 1
        values = 0.5 * torch.tensor([[top + 0.3, top + 9.0, -top - 1.3, -top - 9.0]])
        values.requires_grad_()
        steps = torch.tensor([[0.5]], requires_grad=True)
        quantise(values, steps, bits).sum().backward()
        assert values.grad.tolist() == [[0.0] * 4]
        assert steps.grad.item() == pytest.approx(2 * top - 2 * (top + 1))

    @pytest.mark.parametrize("step", ["feature", "field", "table"])
    def test_steps_start_by_and_learn_from_the_numbers_that_share_them(self, bits, step):
        torch.manual_seed(1)
        table = LearnedStepSize(bits=bits, step=step).embedding(FIELDS, 6, 66)
        values, top = table.table.detach().numpy(), 2 ** (bits - 1) - 1
        parts = {"feature": range(1, 11), "field": [7], "table": []}[step]
        blocks = np.split(values, parts)
        steps = [2 * np.abs(block).mean() / np.sqrt(top) for block in blocks]
        found = table.log_steps.detach().exp().squeeze(1).numpy()
        np.testing.assert_allclose(found, steps, rtol=1e-6)
        pull = torch.randn(11, 1, 6)
        (table(EVERY) * pull).sum().backward()
        for block, part, s, gradient in zip(
            blocks, np.split(pull[:, 0].numpy(), parts), steps, table.log_steps.grad, strict=True
        ):
            ratios = block / s
            inner = np.where((ratios < -top - 1) | (ratios > top), 0.0, ratios)
            slopes = np.rint(np.clip(ratios, -top - 1, top)) - inner
            # The chain rule for log s adds a factor s.
            expected = s * (slopes * part).sum()
            np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
    @pytest.mark.parametrize("step", ["feature", "field"])
    def test_l2_alone_leaves_steps_as_they_are(self, bits, step, kind):
        table = LearnedStepSize(bits=bits, step=step).embedding(FIELDS, 6, 66)
        before, values = table.log_steps.detach().clone(), table.table.detach().clone()
        optimizer = make_optimizer(kind, table, 0.05, 1e-2)
        for _ in range(3):
            (0.0 * table(EVERY)).sum().backward()
            optimizer.step()
        assert torch.equal(table.log_steps, before)
        assert table.table.norm() < values.norm()


class TestIntegersInTraining:
    def test_stochastic_rounding_is_to_a_neighbour_and_right_on_average(self):
        torch.manual_seed(0)
        ratios = torch.tensor([-1.9, -0.25, 0.0, 0.4, 2.75])
        draws = torch.stack([stochastic_integers(ratios, 3) for _ in range(10_000)])
        assert ((draws - ratios).abs() < 1).all()
        share = ratios - ratios.floor()
        # Five standard deviations of a binomial share.
        error = (draws.mean(0) - ratios).abs()
        assert (error <= 5 * (share * (1 - share) / 10_000).sqrt() + 1e-6).all()
        clipped = stochastic_integers(torch.tensor([-99.0, 99.0]), 3)
        assert clipped.tolist() == [-4.0, 3.0]

    @pytest.mark.parametrize("bits", [2, 8])
    def test_slopes_of_steps_are_those_of_torchs_learnable_quantiser(self, bits):
        torch.manual_seed(2)
        steps = torch.rand(20) / 2**bits + 0.01
        values = clear_of_bounds(torch.randn(20, 4), steps, bits)
        steps.requires_grad_()
        learnable_fake_quantise(values, steps, bits).sum().backward()
        found = slopes_of(values / steps.detach()[:, None], bits).sum(1)
        torch.testing.assert_close(found, steps.grad, rtol=1e-4, atol=1e-4)

    def test_rows_follow_adam_without_momentum(self):
        torch.manual_seed(3)
        initial = torch.randn(11, 1)
        table = IntegerRows(initial.clone(), 16, step_rate=0.0).train()
        # Steps small against the updates, so that rounding by chance does not show.
        assert table.steps.max() < 0.03
        table.steps.data.fill_(1e-4)
        table.codes.copy_((initial / 1e-4).round())
        dense = torch.nn.Parameter(table.codes * table.steps.detach())
        ours = make_optimizer("adam", table, 0.05, 1e-3)
        theirs = torch.optim.Adam([dense], 0.05, betas=(0.0, 0.999))
        for step in range(60):
            # Rows 9 and 10 are in no batch.
            ids = torch.randint(0, 9 if step % 7 else 3, (4, 2))
            pull = torch.randn(4, 2, 1)
            ours.zero_grad(), theirs.zero_grad()
            (table(ids) * pull).sum().backward()
            seen = torch.zeros(11, 1)
            seen[ids.unique()] = 1.0
            ((dense[ids] * pull).sum() + 0.5e-3 * (dense * seen).square().sum()).backward()
            ours.step(), theirs.step()
        torch.testing.assert_close(
            table.codes * table.steps.detach(), dense.detach(), rtol=0, atol=2e-3
        )

    def test_no_table_in_floating_point_is_kept(self, toy):
        task = toy.task(epochs=2)
        fitted = AdaptiveLowPrecision().fit(task, toy.full_parameters)
        table, n = fitted.model.embedding, toy.fields.n_features
        assert table.codes.dtype == torch.int8
        assert sum(p.numel() for p in table.parameters()) == n
        # A byte a number, and for each row: step, two averages, last update.
        assert fitted.notes["training_bytes"] == n * (8 + 4 + 8 + 4)
        full = Catalog().load("method", "full")().embedding(toy.fields, 8, toy.full_parameters)
        assert full.training_bytes() == 3 * 4 * 8 * n


@pytest.mark.parametrize("name", ["cafe", "robe"])
def test_methods_whose_point_is_memory_note_the_bytes_of_training(name, toy):
    fitted = Catalog().load("method", name)().fit(toy.task(epochs=1), 200)
    n = toy.fields.n_features
    # Adam keeps two moments; cafe the importance, row and shared row of each
    # feature, whether it is hashed, and owners.
    buffers = 0 if name == "robe" else n * (4 + 8 + 8 + 1) + 8 * len(fitted.model.embedding.owner)
    counted = fitted.model.embedding.n_parameters()
    assert fitted.notes["training_bytes"] == 3 * 4 * counted + buffers


class TestMixedPrecision:
    def test_both_trainings_are_on_the_tasks_device(self, toy, monkeypatch):
        """Torch's meta device stands for one of which the initial values are not."""
        task = toy.task()
        task.device = torch.device("meta")
        devices = []

        def train(model, **_):
            devices.append({tensor.device.type for tensor in model.state_dict().values()})
            if len(devices) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(task, "train", train)
        bits = torch.full((toy.fields.n_features,), 2)
        monkeypatch.setattr(SoftBits, "chosen_bits", lambda _: bits)
        with pytest.raises(KeyboardInterrupt):
            MixedPrecision().fit(task, toy.full_parameters)
        assert devices == [{"meta"}, {"meta"}]

    def table(self, **options):
        torch.manual_seed(4)
        table = MixedPrecision(**options).search_table(FIELDS, 6, 66)
        with torch.no_grad():
            table.logits.normal_(std=table.temperature)
            table.offsets.normal_(std=0.1)
        return table

    def test_rows_are_mixtures_of_every_number_of_bits(self):
        table = self.table(n_groups=4)
        e, beta = table.table.detach().numpy(), table.offsets.detach().numpy()
        logits = table.logits.detach().numpy() / table.temperature
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        groups = table.group_of.numpy()
        expected = np.zeros_like(e)
        for bits in BITS[1:]:
            step = table.log_steps[bits].exp().item()
            codes = np.rint(np.clip((e - beta) / step, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
            expected += p[groups][:, [bits]] * (codes * step + beta)
        np.testing.assert_allclose(table(EVERY)[:, 0].detach(), expected, rtol=1e-4, atol=1e-6)

    def test_the_penalty_is_on_expected_bits_and_lighter_for_frequent_groups(self):
        table = self.table(n_groups=4, bit_weight=0.5)
        # Groups of three by frequency: 12, 9, 8; 5, 4, 2; 2, 1, 1; and the unseen two.
        counts = np.array([29, 11, 4, 1])
        p = table.probabilities().detach().numpy()
        expected = 0.5 * ((p @ np.arange(7)) / counts).sum()
        assert table.penalty().item() == pytest.approx(expected, rel=1e-5)

    def test_l2_alone_moves_rows_and_nothing_else(self):
        table = self.table(n_groups=4, bit_weight=0.0)
        before = {name: value.detach().clone() for name, value in table.named_parameters()}
        optimizer = make_optimizer("adam", table, 0.05, 1e-2)
        (0.0 * table(EVERY)).sum().backward()
        optimizer.step()
        moved = {n for n, value in table.named_parameters() if not torch.equal(value, before[n])}
        assert (moved, set(before)) == ({"table"}, {"table", "log_steps", "offsets", "logits"})

    def test_initial_steps_are_those_of_the_released_code(self):
        """2 · mean|e| / √(2^(b − 1)), ``model/embedding.py`` of Leopold1423/mpe."""
        table = MixedPrecision().search_table(FIELDS, 6, 66)
        mean = table.table.detach().abs().mean()
        steps = table.log_steps.detach().exp()[1:] / (2 * mean)
        expected = torch.tensor([1.0, 0.7071, 0.5, 0.3536, 0.25, 0.1768])
        torch.testing.assert_close(steps, expected, atol=1e-4, rtol=0)

    def test_a_group_gets_the_most_bits_of_half_an_equal_share(self):
        table = self.table(n_groups=4)
        shares = torch.full((4, 7), 1e-3)
        shares[0, [1, 5]] = torch.tensor([0.9, 0.08])
        shares[1, [0, 6]] = torch.tensor([0.92, 0.07])
        shares[2, 3] = 1.0
        shares[3, 0] = 1.0
        table.logits.data = shares.log() * table.temperature
        by_group = [5, 0, 3, 0]
        groups = table.group_of.numpy()
        assert table.chosen_bits().tolist() == [by_group[g] for g in groups]

    def test_bytes_are_those_of_bits_steps_offsets_and_numbers_of_blocks(self):
        table = self.table(n_groups=11)
        bits = torch.tensor([0, 1, 2, 3, 4, 5, 6, 6, 0, 2, 1])
        chosen = FixedBits(table.table.detach().clone(), bits, table)
        stored = chosen.export()
        packed = sum(-(-6 * int((bits == b).sum()) * b // 8) for b in range(1, 7))
        blocks = -(-11 * 3 // 8)
        assert stored.n_bytes == packed + 6 * (4 + 6 * 4) + blocks
        assert stored.n_parameters == chosen.n_parameters() == 9 * 6
        assert stored.widths().tolist() == [0 if b == 0 else 6 for b in bits]
        with torch.no_grad():
            np.testing.assert_array_equal(stored.lookup(EVERY.numpy()), chosen(EVERY).numpy())

    @pytest.mark.slow
    def test_a_heavy_penalty_leaves_few_bits(self, toy):
        def mean_bits(weight):
            torch.manual_seed(0)
            method = MixedPrecision(bit_weight=weight, n_groups=8, temperature=0.3)
            return method.fit(toy.task(epochs=5), toy.full_parameters).notes["mean_bits"]

        assert mean_bits(0.1) < 2.5 < 5.5 < mean_bits(1e-7)


VARIANTS = [
    *(LearnedStepSize(bits=b, step=s) for b in (2, 4, 8) for s in ("feature", "field", "table")),
    *(AdaptiveLowPrecision(bits=b) for b in (2, 4, 8, 16)),
]


@pytest.mark.parametrize("method", VARIANTS, ids=lambda m: f"{m.name}-{m.options()}")
def test_served_rows_are_the_trained_ones(method, tmp_path):
    torch.manual_seed(5)
    table = method.embedding(FIELDS, 5, 55).eval()
    entries = [
        {"name": n, "cardinality": c, "values": [f"{k}" for k in range(1, c)]}
        for n, c in zip(FIELDS.names, FIELDS.cardinalities, strict=True)
    ]
    write_export(tmp_path / "out", table.export(), entries, 5, {})
    served = load(tmp_path / "out")
    with torch.no_grad():
        np.testing.assert_array_equal(served.lookup_ids(EVERY.numpy()), table(EVERY).numpy())
    n_steps = {"feature": 11, "field": 2, "table": 1}[getattr(method, "step", "feature")]
    runs = 4 * n_steps if n_steps == 2 else 0
    assert served.stored_bytes == -(-55 * method.bits // 8) + 4 * n_steps + runs


def test_rounding_after_training_takes_the_place_of_learnt_integers():
    table = LearnedStepSize(bits=2).embedding(FIELDS, 5, 55)
    rounded = QuantisedTable(table, SCHEMES["int8"]).export()
    assert rounded.n_bytes == 55 + 4 * 11
    with torch.no_grad():
        np.testing.assert_allclose(rounded.lookup(EVERY.numpy()), table(EVERY), atol=1e-3)
