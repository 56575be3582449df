"""Trajectories and groups of trajectories of OpenPipe's ART, as it writes them into its logs."""

from dataclasses import replace

from podium.formats.attempts import read_attempts, read_list
from podium.formats.prompts import row_prompt
from podium.formats.record import Format, Record, Row

_MARKS = {"reward", "metrics", "additional_histories", "logs", "auto_metrics"}


def _fits(row: Row) -> str | None:
    if "messages_and_choices" in row:
        return "a trajectory has the field messages_and_choices"
    members = row.get("trajectories")
    if "trajectories" not in row or not isinstance(members, list):
        return None
    if "exceptions" in row or any(isinstance(x, dict) and _MARKS & x.keys() for x in members):
        return "a group of trajectories has rewards, metrics or exceptions"
    if any(isinstance(each, dict) and "messages_and_choices" in each for each in members):
        return "a trajectory has the field messages_and_choices"
    return None


def _read(row: Row) -> list[Record]:
    if "trajectories" not in row:
        return [Record(read_attempts(row), row)]
    attempts = read_list(row["trajectories"], row_prompt(row, "trajectories"))
    return [Record([replace(each, ids=_own(each.ids)) for each in attempts], row)]


def _own(ids: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in ids.items() if name != "model"}


FORMATS = [Format("art", "ART's trajectories, or groups of them", _fits, _read)]
