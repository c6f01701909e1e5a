"""All rules of the contract for backbones, in the order in which they are checked.

A check is a function of a :class:`~pepbench.contract.backbone_candidate.BackboneCandidate`, and
says what it found as the checks of methods do: see :mod:`pepbench.contract.checks`.
"""

from __future__ import annotations

from collections.abc import Callable

from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.rules import backbone_inputs, backbone_training, card

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
    backbone_training.another_process_gives_the_same_bits,
    backbone_training.exports_to_onnx,
)
"""All rules, the quickest first."""
