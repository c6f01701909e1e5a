import pytest

from pepbench.contract.toy import CARDINALITIES, DIM, Toy, make_toy

__all__ = ["CARDINALITIES", "DIM", "Toy"]


@pytest.fixture(scope="session")
def toy() -> Toy:
    """A small task with planted interactions, so that methods can be fitted in a second."""
    return make_toy()
