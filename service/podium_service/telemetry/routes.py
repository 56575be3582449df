"""Name the paths of the service, and find the route under which any path is counted."""

LIVEZ = "/livez"
READYZ = "/readyz"
METRICS = "/metrics"
RANK = "/rank"
RANK_BATCH = "/rank/batch"
RANKING = "/rankings/{ranking_id}"
JUDGES = "/judges"
KEYS = "/keys"
KEY = "/keys/{key_id}"
BRIDGE_JOIN = "/bridge/join"
BRIDGE_OPENRLHF = "/bridge/openrlhf"
BRIDGE_SLIME = "/bridge/slime"
BRIDGE_NEMO_GYM_VERIFY = "/bridge/nemo-gym/verify"
BRIDGE_NEMO_GYM_COMPARE = "/bridge/nemo-gym/compare"
OPENAPI = "/openapi.json"
DOCS = "/docs"
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
_PLAIN = frozenset({LIVEZ, READYZ, METRICS, RANK, RANK_BATCH, JUDGES, KEYS, OPENAPI, *BRIDGE})
_NAMED = {route.rpartition("/")[0]: route for route in (RANKING, KEY)}


def is_page(path: str) -> bool:
    """Return whether a path is of the pages for people."""
    return path in (UI, DOCS) or path.startswith(f"{UI}/")


def route_of(path: str) -> str:
    """Return the route of a path that was refused before it was routed.

    An unknown path is `UNROUTED`, so that a client that tries paths creates no series.
    """
    if path in _PLAIN:
        return path
    if is_page(path):
        return UI
    folder, slash, name = path.rpartition("/")
    return _NAMED.get(folder, UNROUTED) if slash and name else UNROUTED
