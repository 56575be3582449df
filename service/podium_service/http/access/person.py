"""Tell who sent a request, for what people say about groups."""

from typing import Any

from starlette.requests import Request

from podium_service.errors import Forbidden
from podium_service.store.people.person import Person


def person_of(request: Request) -> Person:
    """Return who sent a request."""
    key: Any = request.state.key
    return Person(key.id, key.name)


def require_person(request: Request) -> Person:
    """Return who sent a request that changes something.

    Raises:
        Forbidden: If the key may only read.
    """
    key: Any = request.state.key
    if not key.may("rank"):
        raise Forbidden(f"key {key.name!r} may only read: use a key with the scope rank")
    return person_of(request)
