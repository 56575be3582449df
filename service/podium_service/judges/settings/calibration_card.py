"""Read from the card of a calibration which prompt its judge answers better."""

from pathlib import Path

import orjson
from pydantic_core import PydanticCustomError

from podium_service.prompts.wording import Style


def read_best_prompt(file: Path, model: str) -> Style:
    """Return the prompt that a card says the model answers better.

    Raises:
        PydanticCustomError: If the file cannot be read, is no card of both prompts, or is of
            another model.
    """
    try:
        card = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _fault(f"{file} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise _fault(f"{file} is no JSON: name the one that podium calibrate wrote") from error
    best: Style | None = card.get("best_prompt") if isinstance(card, dict) else None
    if best not in ("long", "short"):
        raise _fault(f"{file} chooses no prompt: write it with podium calibrate --prompts")
    if card.get("model") != model:
        raise _fault(f"{file} is the card of {card.get('model')!r}: calibrate {model!r}")
    return best


def _fault(rule: str) -> PydanticCustomError:
    return PydanticCustomError("card", "{rule}", {"rule": rule, "loc": ("card",)})
