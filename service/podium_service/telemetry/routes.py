"""Name the paths of the service, and find the route under which any path is counted."""

LIVEZ = "/livez"
READYZ = "/readyz"
METRICS = "/metrics"
RANK = "/rank"
RANK_BATCH = "/rank/batch"
RANKING = "/rankings/{ranking_id}"
JUDGES = "/judges"
KEYS = "/keys"
OPENAPI = "/openapi.json"

UNROUTED = "unrouted"
_PLAIN = frozenset({LIVEZ, READYZ, METRICS, RANK, RANK_BATCH, JUDGES, KEYS, OPENAPI})
_RANKINGS = RANKING.removesuffix("{ranking_id}")


def route_of(path: str) -> str:
    """Return the route of a path that was refused before it was routed.

    An unknown path is `UNROUTED`, so that a client that tries paths creates no series.
    """
    if path in _PLAIN:
        return path
    ranking_id = path.removeprefix(_RANKINGS)
    return RANKING if ranking_id and "/" not in ranking_id and ranking_id != path else UNROUTED
