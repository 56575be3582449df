"""Reads the groups of a file, whatever form its rows have, and says what they were taken for.

Each row is looked at by itself, because data sets mix forms: an exported conversation has tool
blocks in some rows only. A row that cannot be read is left out with its reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.formats.attempts import is_conversation
from podium.formats.chats import dialect_of
from podium.formats.errors import FormatError
from podium.formats.fields import names_of
from podium.formats.files import Place, load_file
from podium.formats.grouping import make_groups
from podium.formats.record import Format, Record
from podium.formats.rows import FORMATS
from podium.formats.unwrap import unwrap
from podium.groups import Trajectory, TrajectoryGroup

AUTO = "auto"
# Under these names exports hold a row's fields one level deeper.
_HOLDERS = ("values", "data", "fields", "chat", "properties", "payload", "state", "sample")
EXAMPLE = (
    '{"trajectories": [{"messages": [{"role": "user", "content": "2 + 2?"}, '
    '{"role": "assistant", "content": "4"}]}, {"messages": [{"role": "user", "content": "2 + 2?"}, '
    '{"role": "assistant", "content": "5"}]}]}'
)


@dataclass(frozen=True)
class Reading:
    """The groups of a file.

    Attributes:
        groups: bodies of `POST /rank`, which nothing has validated yet.
        formats: how many rows were taken for each format.
        why: the reason for the commonest of them, as a clause.
        faults: what was left out, each with its place and the reason.
    """

    groups: list[dict[str, Any]]
    formats: dict[str, int]
    why: str
    faults: list[str] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether every row was one of Podium's own groups, so that nothing was made of it."""
        return set(self.formats) == {"podium"}

    @property
    def summary(self) -> str:
        """One line that tells the file's form, the reason for it, and what came of the file."""
        names = " and ".join(self.formats)
        attempts = sum(len(_attempts(group)) for group in self.groups)
        groups = "1 group" if len(self.groups) == 1 else f"{len(self.groups)} groups"
        line = f"taken for {names}, because {self.why}: {groups}, {attempts} attempts"
        if self.groups and attempts <= len(self.groups):
            line += "; no two have the same prompt, so nothing is compared (see --group-by)"
        elif any(map(_lacks_prompt, self.groups)):
            line += "; no prompt was found, so those compared may answer others (see --group-by)"
        return line

    @property
    def trajectory_groups(self) -> list[TrajectoryGroup]:
        """The groups as the client takes them.

        Raises:
            FormatError: If a group of Podium's own has fields that the client does not know.
        """
        return [_client_group(group) for group in self.groups]


def read_file(path: Path, name: str = AUTO, group_by: str | None = None) -> Reading:
    """Read the groups of a file; `-` is standard input.

    Args:
        name: the format of its rows, a name of `FORMATS`, or `auto`.
        group_by: the field that the rows of one group share; by default their prompt or ids tell.

    Raises:
        FormatError: If the file cannot be read, or none of its rows holds an attempt.
    """
    return read_places(load_file(path), name, group_by, str(path))


def read_rows(rows: Sequence[Any], name: str = AUTO, group_by: str | None = None) -> Reading:
    """Read the groups in JSON values, as `read_file` reads those of a file.

    Raises:
        FormatError: If none of them holds an attempt.
    """
    places = [Place(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    return read_places(places, name, group_by, "the rows")


def read_places(
    places: Sequence[Place], name: str = AUTO, group_by: str | None = None, source: str = ""
) -> Reading:
    """Read the groups in the rows of a file.

    Raises:
        FormatError: If none of them holds an attempt, or `name` is no format.
    """
    if name != AUTO and name not in FORMATS:
        raise FormatError(f"--from {name}: no such format: it is one of auto, {', '.join(FORMATS)}")
    records: list[Record] = []
    formats: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    faults: list[str] = []
    for place in unwrap(places):
        try:
            found, why, read = _read_row(place.value, name)
        except FormatError as error:
            faults.append(f"{place.where}: {error}")
        else:
            records += read
            formats[found] += 1
            reasons.setdefault(found, why)
    groups = make_groups(records, group_by) if records else []
    if not groups:
        fault = faults[0] if faults else f"{source}: no row holds an attempt"
        raise FormatError(f"{fault}; name a format by --from, or write groups as {EXAMPLE}")
    most = formats.most_common(1)[0][0]
    return Reading(groups, dict(formats.most_common()), reasons[most], faults)


def _read_row(value: Any, name: str) -> tuple[str, str, Sequence[Record]]:
    """Return the format of a row, why it is taken for it, and its records.

    A list is one conversation, or the attempts of one group.
    """
    if not isinstance(value, list):
        row = _without_holder(_as_object(value))
        found, why = _detect(row, name)
        return found.name, why, found.read(row)
    if is_conversation(value):
        return _read_row({"messages": value}, name)
    if not value or not all(isinstance(each, dict | list) for each in value):
        raise FormatError(f"a row must be an object, not {_kind(value)}")
    parts = [
        _read_row(each if dialect_of(each) is None else {"messages": each}, name) for each in value
    ]
    found_name, why, _ = parts[0]
    records = [record for _, _, read in parts for record in read]
    if any(record.group is not None for record in records):
        return found_name, why, records
    attempts = [attempt for record in records for attempt in record.attempts]
    return found_name, why, [Record(attempts, records[0].fields)] if records else []


def _detect(row: dict[str, Any], name: str) -> tuple[Format, str]:
    """Return the format of a row, and why it is taken for it."""
    if name != AUTO:
        return FORMATS[name], "--from says so"
    for each in FORMATS.values():
        if why := each.fits(row):
            return each, why
    raise FormatError(f"no known format has the fields {names_of(row)}")


def _without_holder(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row, or what it holds one level deeper, if only that is of a format."""
    if any(each.fits(row) for each in FORMATS.values()):
        return row
    held: list[dict[str, Any]] = [row[x] for x in _HOLDERS if isinstance(row.get(x), dict)]
    inner = next((x for x in held if any(each.fits(x) for each in FORMATS.values())), None)
    if inner is None:
        return row
    return {name: value for name, value in row.items() if name not in _HOLDERS} | inner


def _as_object(value: Any) -> dict[str, Any]:
    """Return a row as an object; a message alone is a conversation of one."""
    if not isinstance(value, dict):
        raise FormatError(f"a row must be an object, not {_kind(value)}")
    # The rows that Hugging Face's data set server answers stand one level deeper.
    inner = value.get("row")
    row: dict[str, Any] = inner if isinstance(inner, dict) and "row_idx" in value else value
    is_message = dialect_of([row]) is not None and "role" in row
    if is_message and not any(each.fits(row) for each in FORMATS.values()):
        return {"messages": [row]}
    return row


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list of texts or numbers" if value else "an empty list"
    return {str: "a text", type(None): "null", bool: "true or false"}.get(type(value), "a number")


def _attempts(group: dict[str, Any]) -> list[Any]:
    """Return the attempts of a group; none where what it holds is no list, for others to refuse."""
    attempts = group.get("trajectories")
    return attempts if isinstance(attempts, list) else []


def _lacks_prompt(group: dict[str, Any]) -> bool:
    """Return whether a group says nowhere what its attempts, two or more, are to answer."""
    attempts = _attempts(group)
    if len(attempts) < 2 or group.get("task"):
        return False
    messages = [each.get("messages") for each in attempts if isinstance(each, dict)]
    chats = [each for each in messages if isinstance(each, list)]
    roles = {each.get("role") for chat in chats for each in chat if isinstance(each, dict)}
    return "user" not in roles


def _client_group(group: dict[str, Any]) -> TrajectoryGroup:
    try:
        fields = dict(group)
        fields["trajectories"] = [Trajectory(**each) for each in group["trajectories"]]
        return TrajectoryGroup(**fields)
    except (TypeError, KeyError) as error:
        raise FormatError(f"not a group that the client takes: {error}") from error
