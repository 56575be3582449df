"""A judge's useless replies are counted; a broken run is no measurement."""

import pytest

from benchmarks.real_judge import raise_unless_judged
from podium_service.errors import PodiumError, StoreUnavailable, VerdictInvalid, VerdictTruncated
from podium_service.evaluation.run_judge import GroupOutcome


def failed(error: PodiumError) -> GroupOutcome:
    return GroupOutcome(None, error, {}, [])


def test_groups_without_a_usable_reply_are_a_result() -> None:
    raise_unless_judged([failed(VerdictInvalid("no label")), failed(VerdictTruncated("cut off"))])


def test_a_store_that_does_not_answer_ends_the_run() -> None:
    with pytest.raises(StoreUnavailable):
        raise_unless_judged([failed(VerdictInvalid("no label")), failed(StoreUnavailable("gone"))])
