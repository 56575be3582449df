"""Podium's own groups, which are passed on as they are, and its labelled groups and pairs."""

from typing import Any

from podium.formats.chats import dialect_of, read_chat
from podium.formats.errors import FormatError
from podium.formats.fields import names_of
from podium.formats.record import Format, Record, Row

_ART = {"reward", "metrics", "additional_histories", "logs", "messages_and_choices"}
_PAIR = {"a", "b", "winner"}
_OF_A_GROUP = ("group_id", "judge", "task", "reference", "rubric", "tools", "metadata")


def _fits(row: Row) -> str | None:
    if row.keys() >= _PAIR:
        return "a labelled pair has the fields a, b and winner"
    trajectories = row.get("trajectories")
    if "trajectories" not in row or "exceptions" in row:
        return None
    if isinstance(trajectories, list) and not all(map(_is_trajectory, trajectories)):
        return None
    return "a group has the field trajectories"


def _is_trajectory(value: Any) -> bool:
    return isinstance(value, dict) and "messages" in value and not _ART & value.keys()


def _read(row: Row) -> list[Record]:
    if "trajectories" in row:
        group = {name: value for name, value in row.items() if name != "labels"}
        if isinstance(row["trajectories"], list):
            group["trajectories"] = [_read_trajectory(each) for each in row["trajectories"]]
    elif not row.keys() >= _PAIR:
        raise FormatError(f"a group has trajectories, but this row has {names_of(row)}")
    else:
        names = ("a", "b")
        group = {
            "trajectories": [
                {"id": name, "messages": [{"role": "assistant", "content": row[name]}]}
                for name in names
            ]
        }
        group |= {name: row[name] for name in _OF_A_GROUP if row.get(name) is not None}
    return [Record(group=group)]


def _read_trajectory(trajectory: Any) -> Any:
    """Return a trajectory whose messages are OpenAI's, which it may already be."""
    if not isinstance(trajectory, dict):
        return trajectory
    dialect = dialect_of(trajectory.get("messages"))
    if dialect in (None, "openai"):
        return trajectory
    return trajectory | {"messages": read_chat(trajectory["messages"])}


FORMATS = [
    Format("podium", "Podium's own groups, labelled or not, and labelled pairs", _fits, _read)
]
