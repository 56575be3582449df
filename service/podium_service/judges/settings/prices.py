"""Look up the price of a common model in `examples/prices.yaml`, where each has its date.

To add a model: add a line there, with the day on which you read its price.
"""

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

import yaml

from podium_service.judges.limits import Price

# What may follow the name of a model without changing its price: a date or a version.
_DATED = re.compile(r"(-\d{4}-?\d{2}-?\d{2}|-latest|-\d{3}|@.*|:.*)?")


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """A price that may be out of date, and the day on which it was checked."""

    price: Price
    checked: date


def find_price(model: str) -> KnownPrice | None:
    """Return the known price of a model; None if there is none."""
    name = model.rpartition("/")[2].lower()
    for known, price in known_prices().items():
        if name.startswith(known) and _DATED.fullmatch(name[len(known) :]):
            return price
    return None


@cache
def known_prices() -> dict[str, KnownPrice]:
    """Return the price of each known model."""
    text = (files("podium_service") / "examples" / "prices.yaml").read_text(encoding="utf-8")
    return {
        name: KnownPrice(Price(**settings), checked)
        for name, settings in yaml.safe_load(text).items()
        for checked in [settings.pop("checked")]
    }
