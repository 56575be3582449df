"""Name the paths of the service, and find the route under which any path is counted.

Every path but those of the pages and of `OPENAPI` is there twice: as it is, and below `V1`.
"""

import re

V1 = "/v1"

LIVEZ = "/livez"
READYZ = "/readyz"
METRICS = "/metrics"
RANK = "/rank"
RANK_BATCH = "/rank/batch"
RANKINGS = "/rankings"
RANKING = "/rankings/{ranking_id}"
RANKING_CALLS = "/rankings/{ranking_id}/calls"
RANKING_NOTES = "/rankings/{ranking_id}/notes"
RANKING_NOTE = "/rankings/{ranking_id}/notes/{note_id}"
RANKING_ORDERS = "/rankings/{ranking_id}/orders"
RUNS = "/runs"
RUN = "/runs/{run}"
JUDGES = "/judges"
KEYS = "/keys"
KEY = "/keys/{key_id}"
SPEND = "/spend"
BRIDGE_JOIN = "/bridge/join"
BRIDGE_OPENRLHF = "/bridge/openrlhf"
BRIDGE_SLIME = "/bridge/slime"
BRIDGE_NEMO_GYM_VERIFY = "/bridge/nemo-gym/verify"
BRIDGE_NEMO_GYM_COMPARE = "/bridge/nemo-gym/compare"
OPENAPI = "/openapi.json"
DOCS = "/docs"
HOME = "/"  # leads people to the pages
UI = "/ui"
UI_LOGIN = "/ui/login"
UI_STATIC = "/ui/static/"
UI_ADMIN = "/ui/keys"

UNROUTED = "unrouted"
BRIDGE = (
    BRIDGE_JOIN,
    BRIDGE_OPENRLHF,
    BRIDGE_SLIME,
    BRIDGE_NEMO_GYM_VERIFY,
    BRIDGE_NEMO_GYM_COMPARE,
)
_PLAIN = frozenset(
    {
        LIVEZ, READYZ, METRICS, RANK, RANK_BATCH, RANKINGS, RUNS, JUDGES, KEYS, SPEND, OPENAPI,
        *BRIDGE,
    }
)  # fmt: skip
_NAMED = {
    re.compile(re.sub("{[a-z_]+}", "[^/]+", route)): route
    for route in (RANKING, RANKING_CALLS, RANKING_NOTES, RANKING_NOTE, RANKING_ORDERS, KEY)
}


def is_page(path: str) -> bool:
    """Return whether a path is of the pages for people."""
    return path in (HOME, UI, DOCS) or path.startswith(f"{UI}/")


def unversioned(path: str) -> str:
    """Return a path without the version that it may begin with."""
    return path.removeprefix(V1) if path.startswith(f"{V1}/") else path


def route_of(path: str) -> str:
    """Return the route of a path that was refused before it was routed.

    An unknown path is `UNROUTED`, so that a client that tries paths creates no series.
    """
    bare = unversioned(path)
    if bare == path:
        return _bare_route_of(path)
    route = UNROUTED if is_page(bare) or bare == OPENAPI else _bare_route_of(bare)
    return route if route == UNROUTED else f"{V1}{route}"


def _bare_route_of(path: str) -> str:
    if path in _PLAIN:
        return path
    if is_page(path):
        return UI
    if path.startswith(f"{RUNS}/") and path != f"{RUNS}/":
        return RUN  # the name of a run may hold slashes
    return next((route for form, route in _NAMED.items() if form.fullmatch(path)), UNROUTED)
