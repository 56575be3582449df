"""Name who said something: the API key that was used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """The author of an order or a note; without keys all people are one.

    Attributes:
        api_key_id: as in a `RequestContext`: "" for the environment's key, or where none is needed.
        name: the name of that key; "" where it has none.
    """

    api_key_id: str = ""
    name: str = ""
