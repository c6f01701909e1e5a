"""All rules of the contracts for methods and backbones, in the order in which they are checked.

A check is a function of a :class:`~pepbench.contract.candidate.Candidate`, or for backbones of a
:class:`~pepbench.contract.backbone_candidate.BackboneCandidate`. It returns if the rule is kept,
raises :class:`~pepbench.harness.fit_checks.BrokenContract` with the problem and the remedy if the
rule is broken, and :class:`~pepbench.contract.candidate.NotApplicable` if there is nothing to
check. The first line of its docstring is the rule as users read it.

No check is needed for test rows: a :class:`~pepbench.method.Task` does not contain any.
"""

from __future__ import annotations

from collections.abc import Callable

from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.candidate import Candidate
from pepbench.contract.rules import (
    backbone_inputs,
    backbone_training,
    card,
    fields,
    repetition,
    size,
    training,
    vectors,
)

CHECKS: tuple[Callable[[Candidate], None], ...] = (
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
"""The rules for methods, the quickest first."""

BACKBONE_CHECKS: tuple[Callable[[BackboneCandidate], None], ...] = (
    card.cites_its_source,
    card.explains_its_options,
    card.options_survive_json,
    card.refuses_options_out_of_range,
    backbone_training.trains,
    backbone_inputs.gives_one_logit_a_row,
    backbone_inputs.works_over_its_ranges,
    backbone_inputs.rows_do_not_see_each_other,
    backbone_inputs.reads_multi_valued_fields,
    backbone_inputs.reads_dense_fields,
    backbone_inputs.works_with_every_embedding,
    backbone_inputs.from_table_agrees_with_forward,
    backbone_inputs.keeps_no_table_of_its_own,
    backbone_training.registers_its_parameters,
    backbone_training.every_parameter_gets_a_gradient,
    backbone_training.gradients_are_exact,
    backbone_training.learns_an_interaction,
    backbone_training.state_survives_a_round_trip,
    backbone_training.same_seed_gives_the_same_bits,
    repetition.another_process_gives_the_same_bits,
    backbone_training.exports_to_onnx,
)
"""The rules for backbones, the quickest first."""
