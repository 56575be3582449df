"""The paths that the service answers at; and of any path, the route that it is counted under."""

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
    """The route of a path that was refused before it was routed; `UNROUTED` if it is none of ours,
    so that whoever tries paths makes no series."""
    if path in _PLAIN:
        return path
    ranking_id = path.removeprefix(_RANKINGS)
    return RANKING if ranking_id and "/" not in ranking_id and ranking_id != path else UNROUTED
