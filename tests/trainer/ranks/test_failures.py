"""A rank that fails alone says why, and the others end, too.

Two pairs of processes run side by side, because torch takes seconds to import.
"""

import socket
from contextlib import ExitStack

import pytest

from tests.trainer.ranks import failing
from tests.trainer.ranks.processes import running_ranks

pytestmark = pytest.mark.restart
LIMIT_S = 60.0
SLOW_S = 3.0
OWN = "OSError: no room for what is compiled"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Return what each of two ranks has written when rank 0 fails, and when rank 1 does."""
    folder = tmp_path_factory.mktemp("ranks")
    assert SLOW_S > failing.LIMIT_S
    with ExitStack() as stack:
        pairs = []
        for number, slow_s in enumerate((SLOW_S, 0.0)):
            command = ["-m", failing.__name__, str(number), str(slow_s), str(folder)]
            pairs.append(
                stack.enter_context(running_ranks(2, command, folder / f"rank-{number}-fails"))
            )
        statuses = [[process.wait(LIMIT_S) for process in pair] for pair in pairs]
    assert statuses == [[1, 1], [1, 1]]
    return [
        [(folder / f"rank-{number}-fails-{rank}").read_text() for rank in range(2)]
        for number in range(2)
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_fails_alone_says_why(found: list[list[str]], number: int) -> None:
    assert OWN in found[number][number]
    assert "RankLost" not in found[number][number]


@pytest.mark.parametrize("number", [0, 1])
def test_the_other_rank_is_lost(found: list[list[str]], number: int) -> None:
    line = f"RankLost: rank {1 - number} cannot go on with the others"
    assert line in found[number][1 - number]


def test_a_rank_that_does_not_see_the_folder_is_named(found: list[list[str]]) -> None:
    for said, _ in found:
        [line] = [line for line in said.splitlines() if ": out " in line]
        assert line.startswith("overlook: out ")
        machine = socket.gethostname()
        assert f"rank 1 on {machine} does not see the folder that rank 0 on {machine}" in line


def test_a_signal_within_a_call_leaves_the_ranks_in_step(found: list[list[str]]) -> None:
    assert [pair[0].count("stopped after a call") for pair in found] == [1, 1]


def test_ranks_that_fail_together_go_on(found: list[list[str]]) -> None:
    assert [pair[0].count("all have failed") for pair in found] == [1, 1]
