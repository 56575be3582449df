"""Read the groups that people ordered on the pages, with labels to measure a judge by."""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from podium_service.errors import InvalidRequest
from podium_service.evaluation.labelled_groups import LabelledGroup
from podium_service.schemas import RankRequest
from podium_service.store.asks.sent import read_transcript
from podium_service.store.database.compression import decompress
from podium_service.store.database.tables import TRANSCRIPTS
from podium_service.store.people.gold import GoldOrder, GoldOrders, mean_labels
from podium_service.store.store import SQLStore

_MAX_ORDERS = 100_000


async def read_gold_groups(store: SQLStore, limit: int | None = None) -> list[LabelledGroup]:
    """Return the groups that people ordered, the one with the newest order first.

    Raises:
        InvalidRequest: If there is none.
        StoreUnavailable: If the database does not answer.
    """
    by_group: defaultdict[bytes, list[GoldOrder]] = defaultdict(list)
    for order in await GoldOrders(store).list_newest(_MAX_ORDERS):
        by_group[order.transcript].append(order)
    groups: list[LabelledGroup] = []
    for transcript, orders in list(by_group.items())[:limit]:
        query = sa.select(TRANSCRIPTS.c.content).where(TRANSCRIPTS.c.key == transcript)
        rows = await store.select(query)
        groups += [labelled_group(decompress(row.content), orders) for row in rows]
    if not groups:
        raise InvalidRequest(
            "nobody has ordered a group of this store: order some on their pages, or give labelled "
            "groups by --data FILE"
        )
    return groups


def labelled_group(content: bytes, orders: Sequence[GoldOrder]) -> LabelledGroup:
    """Return a group with the labels that one or more people's orders of it give.

    Args:
        content: the transcript, as the store keeps it.
        orders: of the same transcript.
    """
    group, newest = read_transcript(content), orders[0]
    named = zip(newest.ids, group["trajectories"], strict=True)
    group["trajectories"] = [{"id": name, **each} for name, each in named]
    request = RankRequest.model_validate({**group, "group_id": newest.group_id})
    return LabelledGroup(request, mean_labels([order.ranks for order in orders]))
