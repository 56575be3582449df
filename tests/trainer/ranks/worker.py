"""Train tiny models on several ranks and on one, and write what came out.

    python -m tests.trainer.ranks.worker FOLDER      (RANK, WORLD_SIZE, ... as torchrun sets them)

Rank 0 writes FOLDER/WORLD_SIZE.json: for each case of CASES the numbers of one process and of all
ranks. To add a case, enter how it differs from the others.
"""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from podium_trainer.config import LoraConfig, LossConfig, ModelConfig, OptimizerConfig, TrainConfig
from podium_trainer.policy.load import add_adapter
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import RankLost, Ranks, open_ranks
from podium_trainer.policy.ranks.shard import shard
from podium_trainer.policy.samples import Sample
from podium_trainer.records.checkpoint import RunState, save_checkpoint
from podium_trainer.run.learner import follower_functions, open_learner, seed_everything
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.optimizer import open_optimizer
from podium_trainer.update.update import UpdateSkipped, update
from tests.trainer.runs import settings
from tests.trainer.tiny import END, MODELS, sample, seeded, tiny_chat, tiny_llama
from tests.trainer.update.plain_update import MAX_TOKENS, TEMPERATURE, group_of_samples

Found = dict[str, Any]
CPU = torch.device("cpu")
TIED = ("gspo", "cispo")  # losses beside the default whose heads are tied, too
LONG = 700  # more tokens than logits are computed for at once

CASES: dict[str, dict[str, Any]] = {
    **{f"loss {name}": {"loss": {"name": name}} for name in LOSSES},
    **{f"loss {name}, tied": {"loss": {"name": name}, "tied": True} for name in TIED},
    "tied": {"tied": True, "passes": 2},
    "bfloat16": {"bfloat16": True},
    "buffer": {"has_buffer": True},
    "lora": {"lora": True},
    "lora with kl": {"lora": True, "loss": {"kl": "k3", "kl_coef": 0.5}},
    "kl": {"loss": {"kl": "k1", "kl_coef": 0.5}},
    "checkpointing": {"checkpointing": True},
    "offload": {"offload": True},
    "one micro-batch": {"micro_batch_tokens": 1000},
    "a micro-batch for each sample": {"micro_batch_tokens": 1},
    "one sample": {"num_samples": 1, "mini_batches": 1},
    "long": {"is_long": True, "mini_batches": 1},
    "long and tied": {"is_long": True, "tied": True, "mini_batches": 1},
    "padded": {"model": "gpt2"},
    "capped logits": {"model": "gemma2, capped logits"},
}

RUNS: dict[str, dict[str, Any]] = {
    "run of all weights": {"loss": {"kl": "k3"}, "optimizer": {"offload": True}},
    "run of adapters": {"loss": {"kl": "k3"}, "model": {"lora": {"rank": 2, "alpha": 4}}},
}
SAMPLES = [sample([7, 8, 9, at, END], [2, 3, 4], advantage=at - 12.0) for at in range(10, 15)]


def build_model(case: dict[str, Any]) -> Any:
    """Build a case's model in float64, with the same weights on all ranks."""
    if "model" in case:
        model = seeded(MODELS[case["model"]])
        model.eval()  # switches off the dropout of GPT-2, as load_policy does
        return model.double()
    changes = {"tie_word_embeddings": case.get("tied", False), "max_position_embeddings": 1024}
    model = tiny_llama(**changes)
    if case.get("has_buffer"):  # as the layers of Gemma 4 and the routers of DeepSeek have
        model.model.norm.register_buffer("scale", torch.tensor(2.0))
        model.model.norm.register_forward_hook(lambda norm, _, hidden: hidden * norm.scale)
    return model.float() if case.get("bfloat16") else model.double()


def build(ranks: Ranks, case: dict[str, Any]) -> tuple[Policy, torch.optim.Optimizer]:
    """Build the policy of a case and its optimizer."""
    model, reference = build_model(case), None
    if case.get("lora"):
        config = ModelConfig(path="tiny", lora=LoraConfig(rank=2, alpha=4))
        model = seeded(lambda: add_adapter(model, config, None)).double()
    elif "kl" in case.get("loss", {}):
        reference = tiny_llama(seed=1, max_position_embeddings=1024).double().requires_grad_(False)
    if case.get("checkpointing"):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
        model.train()
    if ranks.are_many:
        for each in (model.get_base_model() if case.get("lora") else model, reference):
            if each is not None:
                if ranks.rank:  # it has to get from rank 0 all values, types and ties
                    each.half().to("meta")
                shard(each, ranks, CPU, bfloat16=case.get("bfloat16", False))
    policy = Policy(
        model, tiny_chat(), temperature=TEMPERATURE, reference=reference, ranks=ranks,
        autocast=case.get("bfloat16", False) and not ranks.are_many,
    )  # fmt: skip
    return policy, open_optimizer(OptimizerConfig(offload=case.get("offload", False)), policy)


def draw_samples(case: dict[str, Any]) -> list[Sample]:
    """Draw the samples of a case, the same ones on all ranks."""
    if case.get("is_long"):
        ids = torch.randint(3, 48, (LONG,), generator=torch.Generator().manual_seed(0)).tolist()
        return [sample([7, *ids, END], advantage=1.0), sample([9, 8, 7, END], advantage=-1.0)]
    return group_of_samples(build_model(case))[: case.get("num_samples")]


def run_case(ranks: Ranks, name: str, steps: int = 2) -> Found:
    """Take steps, and return the numbers of each and sums of the weights after them."""
    case = CASES[name]
    with ranks.lead("open", name):
        policy, optimizer = build(ranks, case)
    stats = [step(policy, optimizer, draw_samples(case), case) for _ in range(steps)]
    return {"stats": stats, "weights": weigh(policy)}


def step(
    policy: Policy, optimizer: torch.optim.Optimizer, samples: Sequence[Sample], case: Any
) -> Found:
    """Make one update on samples that are groups of their own."""
    loss = LossConfig(**({"sequence_ratio_bounds": None} | case.get("loss", {})))
    options: dict[str, Any] = {
        "max_completion_tokens": MAX_TOKENS,
        "micro_batch_tokens": case.get("micro_batch_tokens", 34),
        "mini_batches": case.get("mini_batches", 2),
        "passes": case.get("passes", 1),
        "max_grad_norm": 0.05,
        "lr": 0.02,
    }
    groups = [[[one]] for one in samples]
    with policy.ranks.lead("update", groups, loss, **options):
        stats = asdict(update(policy, optimizer, groups, loss, **options))
    return {name: value for name, value in stats.items() if value is not None}


def weigh(policy: Policy) -> dict[str, list[float]]:
    """Return the sum of each weight and of its square."""
    return {
        name: [float(tensor.sum()), float(tensor.square().sum())]
        for name, tensor in policy.named_full_tensors()
    }


def run_nan(ranks: Ranks) -> Found:
    """Return what a loss that is not finite does, and the step after it."""
    with ranks.lead("open", "tied"):
        policy, optimizer = build(ranks, CASES["tied"])
    before, said = weigh(policy), ""
    try:
        step(policy, optimizer, [sample([3, 4, 5], advantage=float("nan"))], {})
    except UpdateSkipped as error:
        said = str(error)
    is_same = weigh(policy) == before
    stats = step(policy, optimizer, draw_samples({}), {})
    return {"said": said, "is_same": is_same, "is_finite": policy.is_finite, "stats": stats}


def run_stopped(ranks: Ranks) -> Found:
    """Return what keeps the ranks from a call while they are in another, or may be."""
    with ranks.lead("open", "tied"):
        policy, _ = build(ranks, CASES["tied"])
    tensors: Any = policy.named_full_tensors()
    next(tensors)
    found: Found = {"within": ranks.lost}
    try:
        found["is_finite within"] = policy.is_finite
    except RankLost as error:
        found["said"] = str(error)
    tensors.close()
    found |= {"after": ranks.lost, "is_finite": policy.is_finite}
    stopped = Ranks(0, ranks.size)
    with suppress(KeyboardInterrupt), stopped.lead("open", StopsInSending()):
        pass
    return found | {"stopped": stopped.lost}


class StopsInSending:
    """Stands for Ctrl-C while a call is sent."""

    def __reduce__(self) -> str:
        raise KeyboardInterrupt


def run_checkpoints(ranks: Ranks, folder: Path, changes: Found) -> Found:
    """Return the step after a checkpoint, of a run that goes on and of runs that resume from it."""
    one, many = (open_run(each, folder, changes, None) for each in (Ranks(), ranks))
    found: Found = {"unbroken": []}
    for name, (policy, optimizer) in {"one": one, "many": many}.items():
        take_step(policy, optimizer)
        save_checkpoint(folder / name, policy, optimizer, RunState(step=1), 1)
        found["unbroken"].append(take_step(policy, optimizer))
    for name in ("one", "many"):
        for each in (Ranks(), ranks):
            policy, optimizer = open_run(each, folder, changes, folder / name / "step-000001")
            found[f"{name} to {'many' if each.are_many else 'one'}"] = [
                take_step(policy, optimizer)
            ]
    return found


def open_run(ranks: Ranks, folder: Path, changes: Found, checkpoint: Path | None) -> Any:
    """Open the policy and the optimizer of a whole run's settings, as it does."""
    config = TrainConfig.model_validate(settings(folder, "http://podium", **changes))
    seed_everything(config.seed)  # of fresh adapters
    with ranks.lead("open run", config, checkpoint):
        return open_learner(ranks, config, checkpoint)


def take_step(policy: Policy, optimizer: torch.optim.Optimizer) -> Found:
    return step(policy, optimizer, SAMPLES, {"loss": {"kl": "k3"}})


def follow(ranks: Ranks) -> None:
    """Take part in what rank 0 does, with the functions of a run."""
    functions: dict[str, Any] = {}

    def open_case(name: str) -> None:
        functions.update(follower_functions(*build(ranks, CASES[name])))

    def open_run(config: TrainConfig, checkpoint: Path | None) -> None:
        functions.update(follower_functions(*open_learner(ranks, config, checkpoint)))

    functions |= {"open": open_case, "open run": open_run}
    ranks.follow(functions)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with open_ranks(os.environ, limit_s=300) as ranks:
        if ranks.rank:
            follow(ranks)
            return
        found = {
            name: {"one": run_case(Ranks(), name), "many": run_case(ranks, name)} for name in CASES
        }
        for name, changes in RUNS.items():
            found[name] = run_checkpoints(ranks, folder / name, changes)
        found["stopped"] = run_stopped(ranks)
        found["nan"] = {"one": run_nan(Ranks()), "many": run_nan(ranks)}
        (folder / f"{ranks.size}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
