"""How a backbone trains: gradients, interactions, repetition, its state, and its ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from pepbench.backbones.backbone import ALL_INPUTS, Input
from pepbench.contract.backbone_candidate import BackboneCandidate, Inputs, blamed
from pepbench.contract.candidate import NotApplicable, state_digest
from pepbench.errors import PepbenchError
from pepbench.export.onnx import TOLERANCE, Predictor, check_available, export_predictor, run_onnx
from pepbench.harness.fit_checks import BrokenContract, check_scores

INTERACTION_AUC = 0.75
"""Validation AUC to reach on the parity of two fields, where linear models have 0.5."""
FAST = 1000
"""Numbers of parameters from which gradients are checked along random directions only."""


def trains(candidate: BackboneCandidate) -> None:
    """Trains with its default options, and has finite scores."""
    check_scores(candidate.fit()[1])


def every_parameter_gets_a_gradient(candidate: BackboneCandidate) -> None:
    """One step gives a finite gradient to every parameter and to the vectors."""
    inputs = candidate.inputs(*taken(candidate))
    module = candidate.module(inputs.fields).train()
    vectors = inputs.vectors.requires_grad_()
    module(vectors, inputs.ids).square().sum().backward()
    named = {"the vectors": vectors, **dict(module.named_parameters())}
    for name, tensor in named.items():
        if tensor.requires_grad and tensor.grad is None:
            raise BrokenContract(
                f"{name} gets no gradient: forward() does not use it, or detaches it; leave out "
                "what is not used"
            )
        if tensor.grad is not None and not tensor.grad.isfinite().all():
            raise BrokenContract(f"the gradient of {name} is not finite")


def registers_its_parameters(candidate: BackboneCandidate) -> None:
    """Everything that has a gradient is a parameter, and all are there when it is built."""
    inputs = candidate.inputs(*taken(candidate))
    module = candidate.module(inputs.fields).train()
    known = {id(parameter) for parameter in module.parameters()}
    logits = module(inputs.vectors, inputs.ids)
    unregistered = [leaf for leaf in _leaves(logits) if id(leaf) not in known]
    if unregistered:
        count = sum(leaf.numel() for leaf in unregistered)
        raise BrokenContract(
            f"{count} numbers have a gradient, but were no parameters when build() returned: they "
            "are not counted, trained or stored; use nn.Parameter and nn.ModuleList in __init__"
        )


def gradients_are_exact(candidate: BackboneCandidate) -> None:
    """Gradients equal finite differences, in double precision."""
    inputs = candidate.inputs(*taken(candidate)).double()
    vectors = inputs.vectors.requires_grad_()
    remedy = (
        "a hand-written backward, detach(), in-place work, or a tensor of a fixed type is the "
        "usual cause"
    )
    with blamed("in double precision", remedy):
        module = candidate.perturbed(inputs)
        tensors = [vectors, *module.parameters()]
        fast = sum(tensor.numel() for tensor in tensors) > FAST
        try:
            torch.autograd.gradcheck(lambda v, *_: module(v, inputs.ids), tensors, fast_mode=fast)
        except GradcheckError as error:
            words = " ".join(str(error).split())[:200]
            raise BrokenContract(
                f"gradients are not those of forward(): {words}; {remedy}"
            ) from error


def learns_an_interaction(candidate: BackboneCandidate) -> None:
    """Learns the parity of two fields, which no linear model can, unless it says it is linear."""
    if candidate.backbone.linear:
        raise NotApplicable("the class says linear = True")
    reached = candidate.fit()[1].validation.auc
    if not reached > INTERACTION_AUC:
        raise BrokenContract(
            f"validation AUC {reached:.3f} where just one of two fields' codes is odd; do vectors "
            "of different fields meet in forward()? A linear model says linear = True"
        )


def same_seed_gives_the_same_bits(candidate: BackboneCandidate) -> None:
    """Two trainings with the same seed are equal to the last bit."""
    if candidate.digest != state_digest(candidate.fit(repetition=1)[1].model):
        raise BrokenContract(
            "two trainings with the same seed differ; draw from torch's global generator, which "
            "the trial seeds, and from nothing else"
        )


def state_survives_a_round_trip(candidate: BackboneCandidate) -> None:
    """A new module with the trained state_dict gives the same scores."""
    task, fitted = candidate.fit()
    torch.manual_seed(1)
    fresh = task.model(fitted.model.embedding)
    with blamed("load_state_dict()", "build the same modules every time"):
        fresh.backbone.load_state_dict(fitted.model.backbone.state_dict())
    if task.validate(fresh) != task.validate(fitted.model):
        raise BrokenContract(
            "a new module with the same state_dict gives other scores, so that training cannot "
            "return to its best epoch; register what forward() depends on as parameters or buffers"
        )


def exports_to_onnx(candidate: BackboneCandidate) -> None:
    """As `pepbench export --onnx` writes it, onnxruntime gives torch's probabilities."""
    try:
        check_available()
    except PepbenchError as error:
        raise NotApplicable(str(error)) from error
    for kinds in {(), taken(candidate)}:
        inputs = candidate.inputs(*kinds)
        found, expected = _by_onnx(candidate.module(inputs.fields).eval(), inputs)
        if not np.abs(found - expected).max() <= TOLERANCE:
            raise BrokenContract(
                f"onnxruntime's probabilities differ from torch's by "
                f"{np.abs(found - expected).max():.1e}; keep to operations on tensors, without "
                "Python branches on their values or on the number of rows"
            )


def taken(candidate: BackboneCandidate) -> tuple[Input, ...]:
    """All further inputs that the backbone takes."""
    return tuple(kind for kind in ALL_INPUTS if kind in candidate.backbone.takes)


def _by_onnx(module: nn.Module, inputs: Inputs) -> tuple[Any, Any]:
    """Probabilities by onnxruntime and by torch, (B,) each."""
    rows, predictor = inputs.rows, Predictor(module, inputs.fields)
    with torch.no_grad():
        expected = torch.sigmoid(module(inputs.vectors, inputs.ids)).numpy()
    ids = torch.from_numpy(rows.ids.astype(np.int64))
    dense = None if rows.dense is None else torch.from_numpy(rows.dense)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_predictor(predictor.eval(), inputs.vectors, ids, path, dense)
        found = run_onnx(path, inputs.vectors.numpy(), ids.numpy(), rows.dense)
    return found, expected


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors to which a backward pass from ``tensor`` gives gradients."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions]
