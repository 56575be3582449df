"""GOLD.jsonl -> labelled groups: a group or a pair a line, with the truth about each trajectory.

A group is what `POST /rank` takes plus `"labels": {"trajectory id": number}`, higher is better. A
pair is `{"task": text, "a": text, "b": text, "winner": "a" | "b" | "tie"}`; `task` may be left out.
"""

import sys
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import orjson

from podium_service.errors import InvalidRequest, MalformedJSON
from podium_service.evaluation.groups_file import read_groups
from podium_service.http.body import validated
from podium_service.schemas import RankRequest

_PAIR_FIELDS = {"task", "a", "b", "winner"}
_PAIR_LABELS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "tie": [0.5, 0.5]}


@dataclass(frozen=True, slots=True)
class Gold:
    """One group and the truth about it.

    Attributes:
        request: the group as it is ranked.
        labels: per trajectory, in the request's order; higher is better. None if there are none.
    """

    request: RankRequest
    labels: list[float] | None


def read_gold(path: Path, limit: int | None = None) -> list[Gold]:
    """The labelled groups in the first `limit` lines; `-` is standard input.

    Raises:
        MalformedJSON: If the file cannot be read or a line is not JSON; names the line.
        InvalidRequest: If a line breaks a rule, names the line; or if there is none.
    """
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise MalformedJSON(f"{path}: cannot be read: {error.strerror}") from error
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not numbered:
        raise InvalidRequest(f"{path}: holds no group: write one a line")
    return [_line(line, f"{path}:{number}") for number, line in numbered[:limit]]


def read_unlabelled(path: Path, limit: int | None = None) -> list[Gold]:
    """The first `limit` groups of a file as `podium rank` takes it; labels are kept, not required.

    Raises:
        MalformedJSON: If the file cannot be read or is not JSON; names the line.
        InvalidRequest: If a group breaks a rule, names its number; or if there is none.
    """
    values = read_groups(path)
    if not values:
        raise InvalidRequest(f"{path}: holds no group")
    numbered = enumerate(values[:limit], start=1)
    return [parse_gold(value, f"{path}, group {n}", labelled=False) for n, value in numbered]


def parse_gold(value: Any, where: str, *, labelled: bool = True) -> Gold:
    """One group or pair as JSON values; `where` it stands is what errors begin with.

    Raises:
        InvalidRequest: If it breaks a rule, or is `labelled` and has no labels.
    """
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: a group must be an object, not {type(value).__name__}")
    if "winner" in value and "trajectories" not in value:
        return _pair(value, where)
    labels = value.get("labels")
    request = _request({name: value[name] for name in value if name != "labels"}, where)
    if labels is None and not labelled:
        return Gold(request, None)
    return Gold(request, _labels(labels, request, where))


def _line(line: bytes, where: str) -> Gold:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"{where}: not JSON: {error}") from error
    return parse_gold(value, where)


def _request(value: dict[str, Any], where: str) -> RankRequest:
    try:
        return validated(RankRequest, value)
    except InvalidRequest as error:
        raise InvalidRequest(f"{where}: {error.detail}", fields=error.fields) from error


def _labels(labels: Any, request: RankRequest, where: str) -> list[float]:
    if not isinstance(labels, dict):
        raise InvalidRequest(f'{where}: labels must be {{"trajectory id": number}}')
    ids = [trajectory.id for trajectory in request.trajectories]
    missing = [each for each in ids if each not in labels]
    unknown = [each for each in labels if each not in ids]
    if missing or unknown:
        fault = f"none for {missing[0][:64]!r}" if missing else f"no trajectory {unknown[0][:64]!r}"
        raise InvalidRequest(f"{where}: labels: {fault}")
    for each in ids:
        if not _is_number(labels[each]):
            raise InvalidRequest(f"{where}: labels.{each[:64]} must be a finite number")
    return [float(labels[each]) for each in ids]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _pair(value: dict[str, Any], where: str) -> Gold:
    unknown = [name for name in value if name not in _PAIR_FIELDS]
    if unknown:
        raise InvalidRequest(f"{where}: {unknown[0][:64]}: no such field in a pair")
    for name in ("a", "b"):
        if not isinstance(value.get(name), str):
            raise InvalidRequest(f"{where}: {name} must be a text")
    labels = _PAIR_LABELS.get(value["winner"]) if isinstance(value["winner"], str) else None
    if labels is None:
        raise InvalidRequest(f"{where}: winner must be a, b or tie")
    trajectories = [
        {"id": name, "messages": [{"role": "assistant", "content": value[name]}]} for name in "ab"
    ]
    request = _request({"task": value.get("task"), "trajectories": trajectories}, where)
    return Gold(request, labels)
