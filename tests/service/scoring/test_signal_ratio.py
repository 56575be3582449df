"""The signal ratio of a group, from its F ratio."""

from podium_service.scoring.signal_ratio import RATIOS_R, ratio_likelihood


def test_the_likelihood_of_a_ratio_is_largest_at_the_expected_f() -> None:
    likely = ratio_likelihood(1 + 4 * 3.0, 4.0, 60, 1000)
    assert RATIOS_R[int(likely.argmax())] == 3
    assert ratio_likelihood(1e-12, 4.0, 7, 21).argmax() == 0
