"""All rules of the contract for methods, in the order in which they are checked.

A check is a function of a :class:`~pepbench.contract.candidate.Candidate`. It returns if the rule
is kept, raises :class:`~pepbench.harness.fit_checks.BrokenContract` with the problem and the remedy
if the rule is broken, and :class:`~pepbench.contract.candidate.NotApplicable` if there is nothing
to check. The first line of its docstring is the rule as users read it.

No check is needed for test rows: a :class:`~pepbench.method.Task` does not contain any.
"""

from __future__ import annotations

from collections.abc import Callable

from pepbench.contract.candidate import Candidate
from pepbench.contract.rules import card, fields, repetition, size, training, vectors

Check = Callable[[Candidate], None]

CHECKS: tuple[Check, ...] = (
    card.cites_its_source,
    card.explains_its_options,
    card.options_survive_json,
    card.refuses_options_out_of_range,
    training.trains,
    size.keeps_within_the_budget,
    size.names_its_smallest_size,
    size.uses_its_budget,
    size.counts_what_it_stores,
    vectors.vectors_have_the_right_shape,
    training.scores_are_finite,
    training.notes_fit_a_record,
    vectors.export_reproduces_the_vectors,
    vectors.can_be_rounded,
    vectors.serves_from_counted_values_alone,
    vectors.as_table_agrees_with_forward,
    training.works_with_every_backbone,
    training.gradients_are_exact,
    training.starts_with_the_variance_of_the_full_table,
    training.takes_no_more_steps_than_it_says,
    training.learns_interactions,
    training.more_budget_is_not_worse,
    fields.does_not_erase_a_small_field,
    fields.does_not_depend_on_order,
    repetition.same_seed_gives_the_same_bits,
    repetition.one_search_for_many_budgets_changes_nothing,
    repetition.state_survives_a_round_trip,
    repetition.another_process_gives_the_same_bits,
)
"""All rules, the quickest first."""
