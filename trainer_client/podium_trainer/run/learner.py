"""Open what every rank of a run has a share of: the policy and its optimizer."""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from podium_trainer.config import TrainConfig
from podium_trainer.policy.load import load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import Ranks
from podium_trainer.records.checkpoint import CheckpointError, load_optimizer
from podium_trainer.records.optimizer_files import save_state
from podium_trainer.run.checks.common_folder import require_common_folder
from podium_trainer.update.optimizer import open_optimizer
from podium_trainer.update.update import update


def open_learner(
    ranks: Ranks, config: TrainConfig, checkpoint: Path | None
) -> tuple[Policy, torch.optim.Optimizer]:
    """Open what every rank has a share of: the policy and its optimizer."""
    require_common_folder(ranks, config.out)
    policy = load_policy(
        config.model,
        temperature=config.sampler.temperature,
        needs_reference=config.loss.kl != "none",
        weights=checkpoint / "weights" if checkpoint else None,
        ranks=ranks,
    )
    optimizer = open_optimizer(config.optimizer, policy)
    if checkpoint:
        with ranks.agree(CheckpointError):
            load_optimizer(checkpoint, policy, optimizer)
    return policy, optimizer


def follow(ranks: Ranks) -> None:
    """Take part in a run that rank 0 leads, until it ends.

    Raises:
        RankLost: If rank 0 does not answer any more.
    """
    functions: dict[str, Callable[..., Any]] = {}

    def open_share(config: TrainConfig, checkpoint: Path | None) -> None:
        seed_everything(config.seed)
        functions.update(follower_functions(*open_learner(ranks, config, checkpoint)))

    functions["open"] = open_share
    ranks.follow(functions)


def follower_functions(
    policy: Policy, optimizer: torch.optim.Optimizer
) -> dict[str, Callable[..., Any]]:
    """Return what a follower does for each call of rank 0, by the name of the call."""
    return {
        "gather": lambda: deque(policy.named_full_tensors(), maxlen=0),
        "is_finite": lambda: policy.is_finite,
        "save_optimizer": partial(save_state, policy=policy, optimizer=optimizer),
        "score": policy.score,
        "update": partial(update, policy, optimizer),
    }


def seed_everything(seed: int) -> None:
    """Seed all process-wide generators, because a task may use them and LoRA adapters do.

    The run's own draws do not use them; they are seeded by the step.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
