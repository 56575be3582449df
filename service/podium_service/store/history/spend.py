"""Tell what judges cost, from the ledger: as a report, or as CSV."""

import csv
from collections.abc import Sequence
from datetime import date
from io import StringIO
from typing import Any

import sqlalchemy as sa

from podium_service.schemas.spend import MAX_SPEND_ROWS, SpendBy, SpendReport, SpendRow, SpendSum
from podium_service.store.database.tables import API_KEYS, LEDGER
from podium_service.store.store import SQLStore

_L = LEDGER.c
_COLUMNS: dict[SpendBy, dict[str, sa.ColumnElement[Any]]] = {
    "key": {"key_id": _L.api_key_id, "key": API_KEYS.c.name, "owner": API_KEYS.c.owner},
    "judge": {"judge": _L.judge},
    "run": {"run": _L.run},
    "day": {"day": _L.day},
}
_SUMS = (
    sa.func.coalesce(sa.func.sum(_L.calls), 0).label("calls"),
    sa.func.coalesce(sa.func.sum(_L.tokens), 0).label("tokens"),
    sa.func.sum(_L.cost_usd).label("cost_usd"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


async def read_spend(
    store: SQLStore,
    by: Sequence[SpendBy] = ("key",),
    since: date | None = None,
    until: date | None = None,
) -> SpendReport:
    """Return what judges cost, by one or several of key, judge, run and day.

    Args:
        since, until: the first and the last UTC day; None: from the beginning, until now.

    Raises:
        StoreUnavailable: If the database does not answer.
    """
    by = list(dict.fromkeys(by))
    within = []
    if since:
        within.append(_L.day >= since.isoformat())
    if until:
        within.append(_L.day <= until.isoformat())
    named = {name: column for each in by for name, column in _COLUMNS[each].items()}
    days = (_L.day,) if "day" in by else ()
    dearest = sa.func.coalesce(sa.func.sum(_L.cost_usd), 0.0).desc()
    most = sa.func.sum(_L.tokens).desc()
    query = (
        sa.select(*(column.label(name) for name, column in named.items()), *_SUMS)
        .select_from(LEDGER.outerjoin(API_KEYS, API_KEYS.c.id == _L.api_key_id))
        .where(*within)
        .group_by(*named.values())
        .order_by(*days, dearest, most, *named.values())
        .limit(MAX_SPEND_ROWS + 1)
    )
    rows = await store.select(query)
    [total] = await store.select(sa.select(*_SUMS).where(*within))
    return SpendReport(
        by=by,
        since=since,
        until=until,
        rows=[_row_of(row) for row in rows[:MAX_SPEND_ROWS]],
        total=SpendSum.model_validate(dict(total._mapping)),
        is_cut=len(rows) > MAX_SPEND_ROWS,
    )


def _row_of(row: sa.Row[Any]) -> SpendRow:
    # Where there is no key or no run, the ledger has an empty name.
    fields = {name: None if value == "" else value for name, value in row._mapping.items()}
    return SpendRow.model_validate(fields)


def to_csv(report: SpendReport) -> str:
    """Return the rows of a report as CSV, with a line of names.

    A name that a spreadsheet would compute begins with an apostrophe, because clients choose names
    of runs.
    """
    names = [*(name for by in report.by for name in _COLUMNS[by]), *SpendSum.model_fields]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in report.rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
