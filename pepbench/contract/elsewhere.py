"""A fit in a fresh process whose ``PYTHONHASHSEED`` is another one."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import cast

import loky
import torch

from pepbench.catalog import Catalog
from pepbench.component import Value
from pepbench.contract.candidate import Candidate
from pepbench.contract.toy import make_toy
from pepbench.harness.fit_checks import BrokenContract
from pepbench.method import Method


def digest_elsewhere(candidate: Candidate) -> str:
    """The digest of :attr:`Candidate.usual` as another process has it.

    Raises
    ------
    BrokenContract
        If that process dies of it.
    """
    method = candidate.method
    arguments = candidate.plugins, method.name, method.options()
    try:
        digest: str = _other_process().submit(_digest, *arguments).result()
    except BrokenExecutor as error:
        _other_process.cache_clear()
        raise BrokenContract(f"the same fit in another process ended it: {error}") from error
    return digest


@functools.cache
def _other_process() -> Executor:
    """One worker for all candidates: starting it costs more than a fit."""
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    executor: Executor = loky.ProcessPoolExecutor(max_workers=1, env={"PYTHONHASHSEED": other})
    return executor


def _digest(plugins: tuple[Path, ...], name: str, options: Mapping[str, Value]) -> str:
    torch.set_num_threads(1)
    method = cast(Method, Catalog(plugins).load("method", name).from_options(options))
    return Candidate(method, make_toy(), plugins).usual.digest()
