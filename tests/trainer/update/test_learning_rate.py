"""The default learning rate by hand, and its course over a run."""

import pytest

from podium_trainer.config import OptimizerConfig
from podium_trainer.update.learning_rate import default_rate, learning_rate


@pytest.mark.parametrize(
    ("num_parameters", "full", "lora"),
    [
        (1_000_000, 1e-5, 3e-4),  # counts as 135M
        (135_000_000, 1e-5, 3e-4),
        (500_000_000, 5.2e-6, 1.6e-4),
        (540_000_000, 5e-6, 1.5e-4),  # four times the size, half the rate
        (1_500_000_000, 3e-6, 9e-5),
        (7_000_000_000, 1.4e-6, 4.2e-5),
        (32_000_000_000, 6.5e-7, 1.9e-5),
        (70_000_000_000, 4.4e-7, 1.3e-5),
    ],
)
def test_the_default_rate_falls_with_the_root_of_the_size(
    num_parameters: int, full: float, lora: float
) -> None:
    assert default_rate(num_parameters, is_lora=False) == full
    assert default_rate(num_parameters, is_lora=True) == lora


def test_a_rate_warms_up_and_decays() -> None:
    config = OptimizerConfig(lr=8.0, warmup_steps=4, decay="linear")
    # The warm-up is 1/4, 2/4, ... of 8, and the decay 8/8, 7/8, ... of that.
    rates = [learning_rate(config, step, steps=8) for step in (1, 2, 4, 5, 8)]
    assert rates == [2, 3.5, 5, 4, 1]
    constant = OptimizerConfig(lr=8.0, warmup_steps=0)
    assert [learning_rate(constant, step, steps=8) for step in (1, 8)] == [8, 8]
