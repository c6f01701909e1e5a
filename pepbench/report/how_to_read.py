"""How to read a leaderboard, in Markdown."""

from __future__ import annotations

from pepbench.analysis.metrics import METRICS, Metric
from pepbench.analysis.significance import ALPHA
from pepbench.report.phrases import LEVEL


def how_to_read(margin: float, metric: Metric, goal: str) -> str:
    """What the protocol is, and what each column and verdict means.

    Parameters
    ----------
    margin
        Of equivalence, non-inferiority and parity.
    metric
        What verdicts are about.
    goal
        Validation figure that tuning went by, as
        :func:`pepbench.analysis.metrics.objective_name` gives it.
    """
    card = METRICS[metric]
    below, rows = ("below", "rows") if card.sign > 0 else ("above", "rows, with its sign changed")
    minus = f"the method's {card.name} minus"
    inferior = f"{card.name} is shown to be less than {margin:g} {below} the"
    return f"""\
* **Protocol.** The hyper-parameters of each cell (data set, backbone, method, budget) are tuned on
  validation {goal}, with as many trials and epochs for every method; the best trial, or of several
  finalists the one whose mean over further seeds is highest, is trained again with fresh seeds,
  stopping early on validation. Test rows are read once per final run. Only results on the same
  split, dimension and backbone settings are compared.
* **parameters** counts the trained numbers that are needed to produce every feature's vector;
  **share** is parameters / full_parameters (N·D); **bytes** is all that must be stored to serve the
  table. The largest over seeds, and of that the mean over folds.
* **auc**, **log_loss**: test figures, mean over **folds** and **seeds** (final runs in all);
  **calibration**: predicted by observed clicks; **gauc**, **ndcg10**: AUC and NDCG@10 within users,
  where the data set has them. **auc_low** to **auc_high** and **delta_low** to **delta_high** are
  {LEVEL} intervals over folds; of a single split, over test rows (DeLong) or users, and seeds.
* **delta_{metric}** is {minus} the full table's, on the same test {rows}. **p_holm** is its
  two-sided p-value, adjusted (Holm) over the methods of one data set, backbone and budget.
* **verdict**: *equivalent* if the difference is shown to be within ±{margin:g} (two one-sided
  tests), even where it is also shown not to be zero; else *better* or *worse* if
  p_holm < {ALPHA:g}; else *non-inferior* if the {inferior}
  full table's (one-sided); else *undecided*: the data do not tell, which is not that the methods
  are the same. Tests are adjusted (Holm) over the methods of one data set, backbone and budget,
  those of **leads** over all their pairs.
* **Parity**: the fewest parameters at which the {inferior}
  full table's: one-sided at {ALPHA:g} divided by the number of methods that have not passed all of
  their budgets, from the largest budget down until one is not, or its verdict is *worse* or
  *undecided*.
* **on_front**: no other cell of the data set and backbone is at least as good in both parameters
  and AUC, and better in one; sizes within 2% of each other count as equal.
* **cpu_seconds**: of a final run, mean over seeds; **search_seconds**, **train_seconds**: wall time
  likewise; **peak_memory_mib**: the largest over seeds."""
