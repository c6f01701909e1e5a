import numpy as np
import pytest
from check_helpers import LABELS, a_cell, scores
from scipy import stats
from sklearn.metrics import roc_auc_score

from pepbench.analysis.significance import compare
from pepbench.check.accuracy import judge_losses

MARGIN = 0.001


def judged(*pairs, margin=MARGIN, users=None):
    cells = [(a_cell(old), a_cell(new)) for old, new in pairs]
    return judge_losses(cells, lambda _: (LABELS, users), margin, 0.05)


def nudged(values, size, stream=9):
    return values + size * np.random.default_rng(stream).standard_normal(values.shape)


def test_the_same_predictions_are_identical_and_never_tested():
    (loss,) = judged((scores(), scores()))
    assert (loss.verdict, loss.change, loss.p_loss) == ("identical", 0.0, 1.0)


def test_differences_by_rounding_are_non_inferior():
    (loss,) = judged((scores(), nudged(scores(), 1e-4)))
    assert loss.verdict == "non-inferior"
    assert loss.change != 0


def test_a_large_loss_is_shown_and_measured():
    old, new = scores(), nudged(scores(), 0.8)
    (loss,) = judged((old, new))
    assert loss.verdict == "worse"
    means = [np.mean([roc_auc_score(LABELS, line) for line in lines]) for lines in (old, new)]
    assert loss.change == pytest.approx(means[1] - means[0])


def test_a_gain_is_non_inferior():
    (loss,) = judged((nudged(scores(), 0.8), scores()))
    assert loss.verdict == "non-inferior"


def test_luck_of_other_seeds_is_undecided_rather_than_a_failure():
    (loss,) = judged((scores(stream=0), scores(stream=1)))
    assert loss.verdict == "undecided"


def test_a_loss_is_let_pass_where_the_margin_allows_it():
    (loss,) = judged((scores(), nudged(scores(), 0.3)), margin=0.2)
    assert loss.verdict == "non-inferior"


def test_the_two_hypotheses_are_complements_at_the_margin():
    """At an unadjusted level, p of "loss ≤ margin" and of "loss ≥ margin" add up to one."""
    (loss,) = judged((scores(), nudged(scores(), 0.2)))
    assert loss.p_loss + loss.p_noninferior == pytest.approx(1)


def test_users_and_not_their_rows_are_independent_where_they_are_known():
    """A loss that lies within a few users: rows show it, users do not."""
    users = np.arange(len(LABELS)) % 8
    old = scores()
    new = old - 0.5 * (2 * LABELS - 1) * (users < 2)
    (by_row,), (by_user,) = judged((old, new)), judged((old, new), users=users)
    assert by_row.verdict == "worse"
    assert by_user.verdict == "undecided"
    expected = compare(LABELS, new, old, margin=MARGIN, paired=True, users=users)
    assert by_user.p_noninferior == pytest.approx(expected.p_noninferior)
    assert by_user.change == by_row.change


def test_more_cells_need_more_evidence_but_identical_ones_do_not_count():
    changed = scores(), nudged(scores(), 0.3)
    (alone,) = judged(changed)
    beside_identical = judged(changed, (scores(stream=3), scores(stream=3)))[0]
    beside_changed = judged(changed, (scores(stream=3), nudged(scores(stream=3), 1e-4)))[0]
    assert beside_identical.p_loss == alone.p_loss
    assert beside_changed.p_loss == pytest.approx(min(1, 2 * alone.p_loss))


@pytest.mark.slow
def test_an_unchanged_method_with_other_seeds_seldom_fails():
    rng = np.random.default_rng(0)
    trials = 200
    failed = sum(
        judged(tuple(LABELS + rng.standard_normal((2, 3, len(LABELS)))))[0].verdict == "worse"
        for _ in range(trials)
    )
    assert failed <= stats.binom.isf(1e-4, trials, 0.05)
