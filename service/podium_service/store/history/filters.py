"""Choose asks: which rows a page of rankings shows, and where the next page begins."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from podium_service.errors import InvalidRequest
from podium_service.schemas.history import Outcome
from podium_service.store.asks.ids import ask_name, first_ask_at, parse_ask
from podium_service.store.database.tables import ASKS

_SAME = ("run", "step", "judge", "group_id", "prompt_id", "code", "longest_wins", "check_disagrees")


@dataclass(frozen=True, slots=True)
class RankingFilters:
    """The properties that all rankings of a list have; None stands for anything.

    Attributes:
        run, step, judge, group_id, prompt_id, outcome, code: as in `RankingSummary`.
        flag: a trajectory has a flag that begins so, for example `gate` or `steering:rewards`.
        min_reliability: at least so reliable.
        max_agreement: of jurors with each other, at most.
        signal: whether the rewards differ.
        longest_wins: whether the longest trajectory has the greatest reward.
        check_disagrees: whether a trajectory with the greatest verified reward has a smaller reward
            than one without.
        q: a text in the prompt's beginning or the group's id, in any case, or the ranking's id.
        since: answered at this moment or later, in seconds since the epoch.
    """

    run: str | None = None
    step: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    judge: str | None = None
    group_id: str | None = None
    prompt_id: str | None = None
    outcome: Outcome | None = None
    code: str | None = None
    flag: str | None = None
    min_reliability: FiniteFloat | None = None
    max_agreement: FiniteFloat | None = None
    signal: bool | None = None
    longest_wins: bool | None = None
    check_disagrees: bool | None = None
    q: str | None = None
    since: FiniteFloat | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what a row of `asks` must meet, all of it."""
        wanted = {name: getattr(self, name) for name in _SAME}
        found = [ASKS.c[name] == value for name, value in wanted.items() if value is not None]
        if self.outcome:
            failed = ASKS.c.code.is_not(None)
            found.append(failed if self.outcome == "failed" else ~failed)
        if self.flag:
            found.append(ASKS.c.flags.contains(f'"{self.flag}', autoescape=True))
        if self.min_reliability is not None:
            found.append(ASKS.c.reliability >= self.min_reliability)
        if self.max_agreement is not None:
            found.append(ASKS.c.agreement <= self.max_agreement)
        if self.signal is not None:
            found.append(ASKS.c.spread > 0 if self.signal else ASKS.c.spread <= 0)
        if self.q:
            texts = (ASKS.c.prompt, ASKS.c.group_id)
            found.append(
                sa.or_(*(_holds(text, self.q) for text in texts), ASKS.c.ranking_id == self.q)
            )
        if self.since is not None:
            found.append(ASKS.c.id >= first_ask_at(self.since))
        return found


class _matches(sa.sql.functions.GenericFunction[bool]):
    """A match of a text with a pattern of LIKE in any case; `/` escapes."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(_matches)
def _write_ilike(element: _matches, compiler: SQLCompiler, **options: object) -> str:
    text, pattern = (compiler.process(each, **options) for each in element.clauses)
    return f"({text} ILIKE {pattern} ESCAPE '/')"


@compiles(_matches, "sqlite")
def _write_like(element: _matches, compiler: SQLCompiler, **options: object) -> str:
    """Write LIKE, which ignores the case of ASCII as `lower` does, in half the time."""
    text, pattern = (compiler.process(each, **options) for each in element.clauses)
    return f"({text} LIKE {pattern} ESCAPE '/')"


def _holds(text: sa.Column[str], part: str) -> sa.ColumnElement[bool]:
    for special in "/%_":
        part = part.replace(special, f"/{special}")
    return _matches(text, f"%{part}%")


_FILTERS = TypeAdapter(RankingFilters)
_NAMES = {field.name for field in fields(RankingFilters)}


def chosen_filters(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filters in an address; empty ones are left out, as forms send them."""
    return {name: value for name, value in query.items() if name in _NAMES and value.strip()}


def read_filters(chosen: Mapping[str, str]) -> RankingFilters:
    """Return filters from their texts.

    Raises:
        InvalidRequest: If one of them has another type.
    """
    try:
        return _FILTERS.validate_strings(dict(chosen))
    except ValidationError as error:
        fault = error.errors()[0]
        name = fault["loc"][0] if fault["loc"] else "filter"
        raise InvalidRequest(
            f"{name} is {chosen.get(str(name), '')[:64]!r}: {fault['msg']}"
        ) from None


def read_cursor(cursor: str | None) -> int | None:
    """Return the ask after which a page begins.

    Raises:
        InvalidRequest: If the text is no cursor.
    """
    ask = parse_ask(cursor) if cursor else None
    if cursor and ask is None:
        raise InvalidRequest("cursor: send `next` of the page before, as it is")
    return ask


def write_cursor(ask: int) -> str:
    """Return the text by which a client asks for what comes after an ask."""
    return ask_name(ask)
