"""Read files of groups: as plain JSON, as requests to rank, or as requests with labels.

Groups without labels may have any form that podium.formats reads. A file of labelled ones holds one
group, a JSON list of groups, or one group a line (JSONL). A group is a body of `POST /rank`. A
labelled group also has `"labels": {"trajectory id": number}`, higher is better; or
it is a pair, `{"task": text, "a": text, "b": text, "winner": "a" | "b" | "tie"}`, where `task`,
`reference` and the other fields of a group are optional.

A path of `-` is standard input. A file that cannot be read or is not JSON is a MalformedJSON, and
one without groups, or with a group that breaks a rule, an InvalidRequest; both name the place.
"""

import sys
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import orjson

from podium.formats import AUTO, FormatError, Reading, read_file
from podium_service.errors import InvalidRequest, MalformedJSON
from podium_service.http.requests.body import parse_json, validate
from podium_service.schemas import RankRequest

_PAIR_FIELDS = {"a", "b", "winner"}
_LABELS_RULE = 'labels must be {"trajectory id": number}'
_PAIR_LABELS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "tie": [0.5, 0.5]}


@dataclass(frozen=True, slots=True)
class LabelledGroup:
    """One group and a label per trajectory, in the request's order; higher is better."""

    request: RankRequest
    labels: list[float]


def read_groups(path: Path, name: str = AUTO, group_by: str | None = None) -> Reading:
    """Return the groups of a file in any form that podium.formats reads, not validated yet."""
    try:
        return read_file(path, name, group_by)
    except FormatError as error:
        raise InvalidRequest(str(error)) from error


def read_requests(path: Path, limit: int | None = None) -> list[RankRequest]:
    """Return the first `limit` groups of a file in any form; labels are allowed and dropped."""
    reading = read_groups(path)
    if reading.faults:
        raise InvalidRequest(reading.faults[0])
    groups = enumerate(reading.groups[:limit], start=1)
    return [parse_group(group, f"{path}, group {number}")[0] for number, group in groups]


def read_labelled_groups(path: Path, limit: int | None = None) -> list[LabelledGroup]:
    """Return the first `limit` groups of a file with their labels, which each must have."""
    groups = []
    for where, value in _read_values(path, limit):
        request, labels = parse_group(value, where)
        if labels is None:
            raise InvalidRequest(f"{where}: {_LABELS_RULE}")
        groups.append(LabelledGroup(request, labels))
    return groups


def parse_group(value: Any, where: str) -> tuple[RankRequest, list[float] | None]:
    """Return the request of a group or a pair, and its labels if it has any.

    Error messages begin with `where`, the place of the group.
    """
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: a group must be an object, not {type(value).__name__}")
    if "winner" in value and "trajectories" not in value:
        return _parse_pair(value, where)
    request = _validate({name: value[name] for name in value if name != "labels"}, where)
    labels = value.get("labels")
    return request, None if labels is None else _order_labels(labels, request, where)


def _read_values(path: Path, limit: int | None = None) -> list[tuple[str, Any]]:
    """Return the place and the JSON value of each group; lines after `limit` groups are ignored."""
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise MalformedJSON(f"{path}: cannot be read: {error.strerror}") from error
    try:
        whole, _ = parse_json(text)
    except orjson.JSONDecodeError as error:
        values = _parse_lines(path, text, limit, error)
    else:
        groups = whole if isinstance(whole, list) else [whole]
        values = [(f"{path}, group {n}", group) for n, group in enumerate(groups[:limit], start=1)]
    if not values:
        raise InvalidRequest(f"{path} holds no groups: write one group a line, or a JSON list")
    return values


def _parse_lines(
    path: Path, text: bytes, limit: int | None, whole_error: orjson.JSONDecodeError
) -> list[tuple[str, Any]]:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    values: list[tuple[str, Any]] = []
    for number, line in lines[:limit]:
        try:
            values.append((f"{path}:{number}", parse_json(line)[0]))
        except orjson.JSONDecodeError as error:
            # If even the first of several lines is no JSON, the file is one value over many lines.
            if not values and len(lines) > 1:
                fault = f"{path}:{whole_error.lineno}: not JSON: {whole_error}"
            else:
                fault = f"{path}:{number}: not JSON: {error}"
            raise MalformedJSON(fault) from error
    return values


def _validate(value: dict[str, Any], where: str) -> RankRequest:
    try:
        return validate(RankRequest, value)
    except InvalidRequest as error:
        raise InvalidRequest(f"{where}: {error.detail}", fields=error.fields) from error


def _order_labels(labels: Any, request: RankRequest, where: str) -> list[float]:
    """Return the labels in the order of the request's trajectories."""
    if not isinstance(labels, dict):
        raise InvalidRequest(f"{where}: {_LABELS_RULE}")
    ids = [trajectory.id for trajectory in request.trajectories]
    if len(ids) < 2:
        raise InvalidRequest(f"{where}: labels: a labelled group needs two trajectories or more")
    missing = [name for name in ids if name not in labels]
    unknown = [name for name in labels if name not in ids]
    if missing or unknown:
        fault = f"none for {missing[0][:64]!r}" if missing else f"no trajectory {unknown[0][:64]!r}"
        raise InvalidRequest(f"{where}: labels: {fault}")
    for name in ids:
        if type(labels[name]) not in (int, float) or not isfinite(labels[name]):
            raise InvalidRequest(f"{where}: labels.{name[:64]} must be a finite number")
    return [float(labels[name]) for name in ids]


def _parse_pair(value: dict[str, Any], where: str) -> tuple[RankRequest, list[float]]:
    for name in ("a", "b"):
        if not isinstance(value.get(name), str):
            raise InvalidRequest(f"{where}: {name} must be a text")
    labels = _PAIR_LABELS.get(value["winner"]) if isinstance(value["winner"], str) else None
    if labels is None:
        raise InvalidRequest(f"{where}: winner must be a, b or tie")
    trajectories = [
        {"id": name, "messages": [{"role": "assistant", "content": value[name]}]} for name in "ab"
    ]
    fields = {name: value[name] for name in value if name not in _PAIR_FIELDS}
    return _validate(fields | {"trajectories": trajectories}, where), labels
