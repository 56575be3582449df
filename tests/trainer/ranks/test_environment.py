"""The variables of torchrun are read, and a line says what is wrong with them or with a rank."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from podium_trainer.policy.ranks.environment import RanksError
from podium_trainer.policy.ranks.processes import RankLost, describe_loss, open_ranks


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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError(
                "[/src/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.7]:22400."
                " This is typically caused by a remote worker crashing. Check its logs."
            ),
            "rank 1 cannot go on with the others (Connection closed by peer [10.0.0.7]:22400): ",
        ),
        (RuntimeError(), "rank 1 cannot go on with the others (RuntimeError): "),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "rank 1 ran out of memory (CUDA out of memory): lower optimizer.micro_batch_tokens, ",
        ),
        (RankLost("rank 2 is gone"), "rank 2 is gone"),
    ],
)
def test_a_loss_is_told_in_the_words_that_matter(error: RuntimeError, words: str) -> None:
    assert describe_loss(error, 1).startswith(words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_rank_that_waits_for_the_others(number: signal.Signals) -> None:
    join = (
        "import os, signal\n"
        "from podium_trainer.policy.ranks.processes import open_ranks\n"
        "from podium_trainer.run.interrupt import interruptible\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interruptible(), open_ranks(os.environ): pass"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        port = str(silent.getsockname()[1])
        variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        environment = {**os.environ, **variables, "MASTER_PORT": port}
        rank = subprocess.Popen([sys.executable, "-c", join], env=environment)
        try:
            connection, _ = silent.accept()
            with connection:
                rank.send_signal(number)
                assert rank.wait(20) == -number
        finally:
            rank.kill()
            rank.wait()
