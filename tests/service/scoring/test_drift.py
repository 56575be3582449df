"""The slot bias of a judge over its last groups."""

import numpy as np
import pytest

from podium_service.scoring.drift import HALF_LIFE, SlotDrift
from podium_service.scoring.least_squares import KNOTS
from podium_service.scoring.noise import EMPTY_PAST_GROUP, PastGroup


def test_a_drift_shows_within_the_last_groups() -> None:
    line = np.linspace(-0.5, 0.5, KNOTS)

    def past_group(bias: float) -> PastGroup:
        return PastGroup(4, 4, 1.0, 1.0, 1.0, 3.0, np.eye(KNOTS).tolist(), (bias * line).tolist())

    drift = SlotDrift()
    assert drift.add(EMPTY_PAST_GROUP) is None
    before = [drift.add(past_group(0.0)) for _ in range(500)]
    after = [drift.add(past_group(0.2)) for _ in range(4 * HALF_LIFE)]
    assert before[-1] == 0
    assert after[HALF_LIFE - 1] == pytest.approx(0.1, abs=0.001)
    assert after[-1] == pytest.approx(0.2 * 15 / 16, abs=0.001)
