"""All rules of the contract, in the order in which they are checked.

A check takes a :class:`~pepbench.contract.candidate.Candidate` and returns if the rule is kept,
raises :class:`~pepbench.harness.fit_checks.BrokenContract` with what is wrong and what to do if it
is not, or :class:`~pepbench.contract.candidate.NotApplicable`. The first line of its docstring is
the rule, as users read it.

That a method does not see test rows needs no check: a :class:`~pepbench.method.Task` has none.
"""

from __future__ import annotations

from collections.abc import Callable

from pepbench.contract.candidate import Candidate
from pepbench.contract.rules.card import (
    cites_its_source,
    explains_its_options,
    options_survive_json,
    refuses_options_out_of_range,
)
from pepbench.contract.rules.repetition import (
    another_process_gives_the_same_bits,
    one_search_for_many_budgets_changes_nothing,
    same_seed_gives_the_same_bits,
    state_survives_a_round_trip,
)
from pepbench.contract.rules.size import (
    counts_what_it_stores,
    keeps_within_the_budget,
    names_its_smallest_size,
)
from pepbench.contract.rules.training import (
    gradients_are_exact,
    learns_interactions,
    notes_fit_a_record,
    scores_are_finite,
    starts_with_the_variance_of_the_full_table,
    takes_no_more_steps_than_it_says,
    trains,
    works_with_every_backbone,
)
from pepbench.contract.rules.vectors import (
    as_table_agrees_with_forward,
    can_be_rounded,
    export_reproduces_the_vectors,
    serves_from_counted_values_alone,
    vectors_have_the_right_shape,
)

Check = Callable[[Candidate], None]

CHECKS: tuple[Check, ...] = (
    cites_its_source,
    explains_its_options,
    options_survive_json,
    refuses_options_out_of_range,
    trains,
    keeps_within_the_budget,
    names_its_smallest_size,
    counts_what_it_stores,
    vectors_have_the_right_shape,
    scores_are_finite,
    notes_fit_a_record,
    export_reproduces_the_vectors,
    can_be_rounded,
    serves_from_counted_values_alone,
    as_table_agrees_with_forward,
    works_with_every_backbone,
    gradients_are_exact,
    starts_with_the_variance_of_the_full_table,
    takes_no_more_steps_than_it_says,
    learns_interactions,
    same_seed_gives_the_same_bits,
    one_search_for_many_budgets_changes_nothing,
    state_survives_a_round_trip,
    another_process_gives_the_same_bits,
)
"""All rules, the quickest first."""
