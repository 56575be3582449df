"""Read what became of a group after its ranking: later judgments, orders of people, and notes.

The page of a group shows it, and so do pages as files.
"""

from podium_service.pages.operation.again import Again, compare_rankings, list_judged
from podium_service.pages.operation.people import People, list_said
from podium_service.schemas.history import RankingDetail
from podium_service.store.history.reader import HistoryReader
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from podium_service.store.people.person import Person


async def read_again(reader: HistoryReader, detail: RankingDetail, beside: str = "") -> Again:
    """Return what came of judging a group again, without the form for it.

    Args:
        beside: the ask of a later judgment, to show beside the first; "" for the newest.
    """
    summary = detail.summary
    others = await reader.list_again(summary.ask)
    first = await reader.read_ranking(summary.again_of) if summary.again_of else None
    names = [each.ask for each, _ in others if each.rewards]
    chosen = beside if beside in names else next(iter(names), "")
    later = detail if first else await reader.read_ranking(chosen) if chosen else None
    return Again(
        first=first.summary if first else None,
        judged=list_judged(summary, others),
        beside=compare_rankings(first or detail, later) if later else None,
    )


async def read_people(
    gold: GoldOrders, notes: Notes, detail: RankingDetail, person: Person | None = None
) -> People:
    """Return what people said about a group, without their forms; `person` is who looks."""
    orders = await gold.list_of(detail.summary.ask)
    return People(
        said=list_said(orders, detail.ranking, person),
        notes=await notes.list_of(detail.summary.id),
        person=person,
    )
