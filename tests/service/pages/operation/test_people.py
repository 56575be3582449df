"""The order of a person, as a page shows it and a form sends it."""

import pytest

from podium_service.pages.attempts import read_attempts
from podium_service.pages.operation.people import list_items, list_said, read_tiers
from podium_service.store.people.gold import GoldOrder
from podium_service.store.people.person import Person
from tests.service.helpers import group
from tests.service.pages.samples import detail_of

ANN, BOB = Person("a1", "Ann"), Person("b2", "Bob")
DETAIL = detail_of(group("One.", "two " * 100, "Three."))
IDS = DETAIL.summary.ids
ORDER = GoldOrder(b"", ANN, ["x", "y", "z"], [["z"], ["x", "y"]], "ask", None, 0.0, is_blind=True)


def test_items_begin_in_the_judges_order() -> None:
    items = list_items(read_attempts(DETAIL, ()), IDS, None)
    assert [(each.index, each.id, each.place) for each in items] == [
        (0, "t0", 1), (1, "t1", 2), (2, "t2", 3)]  # fmt: skip
    assert items[0].excerpt == "One."
    assert items[1].excerpt == ("two " * 40) + "…"


def test_items_follow_an_order_that_was_given_under_other_ids() -> None:
    items = list_items(read_attempts(DETAIL, ()), IDS, ORDER)
    assert [(each.id, each.place, each.is_tied) for each in items] == [
        ("t2", 1, False), ("t0", 2, False), ("t1", 2, True)]  # fmt: skip


def test_an_order_tells_how_far_the_judge_agrees() -> None:
    [said] = list_said([ORDER], DETAIL.ranking, BOB)
    # The judge has t0 > t1 > t2; the order has t2 on top, and ties the others.
    assert not said.is_own
    assert said.tau == pytest.approx(-2 / 6**0.5)
    assert list_said([ORDER], DETAIL.ranking, ANN)[0].is_own
    assert list_said([ORDER], None, None)[0].tau is None


def test_equal_places_are_a_tier_and_gaps_do_not_count() -> None:
    assert read_tiers(IDS, ["2", "0", "1"], ["7", "2", "2"]) == [["t0", "t1"], ["t2"]]


@pytest.mark.parametrize(
    ("indices", "places", "fault"),
    [
        (["3"], ["1"], "no attempt 3"),
        (["-1"], ["1"], "no attempt -1"),
        (["0"], [], "needs a place"),
        (["0"], ["x"], "must be a number"),
    ],
)
def test_a_form_that_is_no_order_is_refused(
    indices: list[str], places: list[str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        read_tiers(IDS, indices, places)
