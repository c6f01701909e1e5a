"""What both executors must do alike."""

import os

import pytest

from pepbench.harness.executors import local_executor, stop_at_once


def double(number):
    if number < 0:
        raise ValueError(number)
    return 2 * number


def process(_):
    return os.getpid()


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)])
def executor(request):
    executor = local_executor(request.param)
    yield executor
    stop_at_once(executor)


def test_results_and_exceptions_come_back(executor):
    futures = [executor.submit(double, number) for number in (1, -1, 3)]
    assert [futures[0].result(60), futures[2].result(60)] == [2, 6]
    assert isinstance(futures[1].exception(60), ValueError)


def test_one_job_runs_in_this_process():
    assert local_executor(1).submit(process, None).result() == os.getpid()
