"""The variables of torchrun are read, or a line says which one is wrong."""

import pytest

from podium_trainer.policy.ranks.environment import RanksError
from podium_trainer.policy.ranks.processes import open_ranks


def test_without_torchrun_a_process_is_alone() -> None:
    with open_ranks({"RANK": "x"}) as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)


@pytest.mark.parametrize(
    ("environment", "begin"),
    [
        ({"WORLD_SIZE": "2"}, "RANK: ''"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK: '-1'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: 'two'"),
    ],
)
def test_a_variable_that_is_missing_is_named(environment: dict[str, str], begin: str) -> None:
    with pytest.raises(RanksError) as caught, open_ranks(environment):
        pass
    size = environment["WORLD_SIZE"]
    assert str(caught.value) == (
        f"{begin}: must be a number if WORLD_SIZE is set, which is {size!r}: start with torchrun,"
        " which sets all of them, or unset WORLD_SIZE"
    )
