"""Makes groups of the wire out of records: those of one prompt, or of one name, belong together.

To add a name that tells the group of a row: put it into `GROUPS` of fields.py.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from podium.formats import fields
from podium.formats.errors import FormatError
from podium.formats.record import Attempt, Record, Row, prompt_of

MAX_TRAJECTORIES = 64
Key = tuple[str, str]


def make_groups(records: Sequence[Record], group_by: str | None = None) -> list[Row]:
    """Return the groups of records, each where its first record stands.

    Args:
        group_by: the field, as a dotted path, that the rows of one group share. Without it, rows
            with one attempt each are brought together by the first name of `fields.GROUPS` that
            repeats, else by their prompt; a row with several attempts is a group.

    Raises:
        FormatError: If no row has the field.
    """
    records = last_of_traces(records)
    by = group_by or _shared_name(records)
    if group_by and not any(look_up(each, group_by) is not None for each in records):
        raise FormatError(f"--group-by {group_by}: no row has this field")
    members: dict[Key, list[Record]] = {}
    groups: list[Row | Key] = []
    for index, record in enumerate(records):
        if record.group is not None:
            groups.append(_fill_ids(record.group))
            continue
        key = _key(record, index, by, always=group_by is not None)
        if key not in members:
            groups.append(key)
        members.setdefault(key, []).append(record)
    return [
        _make_group(each, members[each]) if isinstance(each, tuple) else each for each in groups
    ]


def last_of_traces(records: Iterable[Record]) -> list[Record]:
    """Return the records without those that a later part of their trace repeats.

    Each call of a model in an agent's trace shows all messages before it, so the last one holds the
    whole attempt. Calls with as many messages after the same prompt are attempts side by side.
    """
    last: dict[str, Record] = {}
    records = list(records)
    for record in records:
        if record.trace is not None:
            known = last.get(record.trace)
            last[record.trace] = record if known is None or record.at >= known.at else known
    return [
        record
        for record in records
        if record.trace is None or _shape(record) == _shape(last[record.trace])
    ]


def look_up(record: Record, name: str) -> Any:
    """Return a field of a record's row, or of the metadata in it."""
    row = record.fields
    for holder in (row, row.get("metadata"), row.get("extra_info"), row.get("attributes")):
        if (value := fields.look_up(holder, name)) is not None:
            return value
    return None


def _shape(record: Record) -> tuple[str, int]:
    messages = record.attempts[0].messages if record.attempts else []
    return _canonical(prompt_of(messages)), len(messages)


def _shared_name(records: Sequence[Record]) -> str | None:
    """Return the name of the field that tells the groups of single attempts; None without one."""
    single = [each for each in records if each.group is None and len(each.attempts) == 1]
    for name in fields.GROUPS:
        values = [_canonical(look_up(each, name)) for each in single]
        most = max(Counter(values).values(), default=0)
        # A field that far more rows share than a group may have tells a category.
        if "null" in values or not 1 < most <= MAX_TRAJECTORIES:
            continue
        if not _is_coarse(values, single):
            return name
    return None


def _is_coarse(values: Sequence[str], records: Sequence[Record]) -> bool:
    """Return whether rows of two prompts, with attempts of their own at each, share a value."""
    rows = Counter(zip(values, (_key(x, 0, None, always=False) for x in records), strict=True))
    repeated = Counter(value for (value, _), number in rows.items() if number > 1)
    return max(repeated.values(), default=0) > 1


def _key(record: Record, index: int, by: str | None, *, always: bool) -> Key:
    if len(record.attempts) != 1 and not always:
        return "row", str(index)
    if by and (value := look_up(record, by)) is not None:
        return by, _canonical(value)
    steps = [look_up(record, name) for name in fields.STEPS]
    prompt = record.attempts[0].prompt if record.attempts else []
    return "prompt", _canonical([steps, prompt])


def _make_group(key: Key, members: Sequence[Record]) -> Row:
    attempts = [attempt for member in members for attempt in member.attempts]
    group: Row = {}
    if name := _group_id(key, members):
        group["group_id"] = name
    if (reference := _same(_reference(each) for each in members)) is not None:
        group["reference"] = reference
    task = members[0].fields.get("task")
    if isinstance(task, str) and not any(prompt_of(each.messages) for each in attempts):
        group["task"] = task
    tools = [attempt.tools for attempt in attempts]
    shared = tools[0] if _same(map(_canonical, tools)) is not None else None
    if shared:
        group["tools"] = shared
    ids = _choose_ids(attempts)
    group["trajectories"] = [
        _trajectory(attempt, id, shared) for attempt, id in zip(attempts, ids, strict=True)
    ]
    return group


def _trajectory(attempt: Attempt, id: str, shared_tools: list[Any] | None) -> Row:
    trajectory: Row = {"id": id, "messages": attempt.messages}
    if attempt.finish_reason:
        trajectory["finish_reason"] = attempt.finish_reason
    if attempt.tools and not shared_tools:
        trajectory["tools"] = attempt.tools
    return trajectory


def _group_id(key: Key, members: Sequence[Record]) -> str | None:
    name, text = key
    if name in ("row", "prompt"):
        named = (fields.scalar_text(look_up(members[0], each)) for each in fields.GROUPS)
        found = next(filter(None, named), None)
        if found is None and len(members) == 1 and len(members[0].attempts) > 1:
            found = fields.scalar_text(fields.look_up(members[0].fields, "id"))
        return found[:256] if found else None
    value = json.loads(text)
    return (fields.scalar_text(value) or text)[:256]


def _choose_ids(attempts: Sequence[Attempt]) -> list[str]:
    """Return distinct ids: those of the rows, with the index for what is missing."""
    for name in fields.IDS:
        if any(name in attempt.ids for attempt in attempts):
            ids = [attempt.ids.get(name) or str(n) for n, attempt in enumerate(attempts)]
            if len(set(ids)) == len(ids):
                return ids
    return [str(index) for index in range(len(attempts))]


def _fill_ids(group: Row) -> Row:
    """Return one of Podium's own groups with the index for each id that is missing."""
    trajectories = group.get("trajectories")
    if not isinstance(trajectories, list):
        return group
    return group | {
        "trajectories": [
            each | {"id": str(index)} if isinstance(each, dict) and each.get("id") is None else each
            for index, each in enumerate(trajectories)
        ]
    }


def _reference(record: Record) -> str | None:
    for name in fields.REFERENCES:
        if text := fields.scalar_text(look_up(record, name)):
            return text
    return None


def _same(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
