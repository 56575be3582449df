"""Who pays for a call to a judge."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Payer:
    """An API key, by its id, and a run, by its name; "" where there is none."""

    api_key_id: str = ""
    run: str = ""


NOBODY = Payer()
