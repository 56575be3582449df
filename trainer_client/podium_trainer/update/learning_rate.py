"""Choose the learning rate of a run, and of each of its steps."""

import math

from podium_trainer.config import OptimizerConfig

FULL_RATE = 1e-5  # of all weights of a model with REFERENCE_SIZE parameters
LORA_FACTOR = 30
REFERENCE_SIZE = 135_000_000


def default_rate(num_parameters: int, *, is_lora: bool) -> float:
    """Compute the learning rate after warm-up for a model of this size, to two digits.

    For all weights it is 1e-5 at 135 million parameters, and falls with the square root of the
    size: 3e-6 at 1.5 billion, 1.4e-6 at 7 billion. Adam moves every weight by about the rate, so a
    wider layer, which adds up more of them, needs less. Smaller models count as 135 million.

    Adapters get 30 times as much. Their product starts at 0 and has few directions, so that the
    same rate moves the model far less: with it, a LoRA of a 135M model learnt nothing at 1e-5 (held
    out .05 to .07 in 14 steps) and everything at 3e-4 (.05 to .79).

    Args:
        num_parameters: of the model, without adapters.
        is_lora: whether only adapters are trained.

    Source:
        The rates are those in use for GRPO: 1e-6 at 7B in verl and TRL. Schulman et al. 2025,
        "LoRA Without Regret", find that adapters need about ten times the rate of all weights, and
        more in short runs.
    """
    scale = math.sqrt(REFERENCE_SIZE / max(num_parameters, REFERENCE_SIZE))
    return float(f"{FULL_RATE * scale * (LORA_FACTOR if is_lora else 1):.2g}")


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the rate of a step, counted from 1: linear warm-up, then constant or down to 0.

    The config's rate must be a number, which `default_rate` gives where it was null.
    """
    assert config.lr is not None
    warmup = min(1.0, step / max(1, config.warmup_steps))
    decay = 1.0 if config.decay == "constant" else (steps - step + 1) / steps
    return config.lr * warmup * decay
