"""Train one step on any number of processes; the first writes down all rewards, in order.

torchrun --nproc-per-node 2 share_groups.py URL JUDGE ROWS_A_PROCESS FILE
"""

import json
import sys
from pathlib import Path

from podium.integrations.trl import PodiumReward
from tests.integrations.trl.tiny import logged, trainer

PROMPTS = [{"prompt": f"{number} + 1 ="} for number in range(8)]


def write(position: int, prompt: str) -> str:
    return "a" * (10 + 7 * position)


def main() -> None:
    url, judge, rows, file = sys.argv[1:]
    run = trainer(
        Path(file).parent,
        PodiumReward(url, judge=judge),
        PROMPTS,
        completions=write,
        max_steps=1,
        per_device_train_batch_size=int(rows),
        gradient_accumulation_steps=1,
        max_completion_length=100,
    )
    run.train()
    if run.accelerator.is_main_process:
        found = {
            "rewards": list(run._logs["rewards"]["podium"]),
            "advantages": list(run._logs["advantages"]),
            "completions": list(run._logs["completion"]),
            "rankings": list(run._logs["extra"]["podium/ranking"]),
            "ranked": logged(run, "podium/groups_ranked"),
        }
        Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
