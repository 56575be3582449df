"""The ledger of what calls cost, with those that are there; owners and expiries of API keys.

Revision 0003. Who paid for calls so far is not known, so they count without a key and without a
run.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from podium_service.store.quotas.ledger import sum_calls

revision = "0003"
down_revision = "0002"

_AT_ONCE = 1000
_CALLS = sa.table("calls", *(sa.column(name) for name in ("id", "created_at", "judge", "usage")))


def upgrade() -> None:
    """Add the columns and the table, and sum up the calls."""
    op.add_column("api_keys", sa.Column("owner", sa.Text, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("expires_at", sa.Float))
    of_key = sa.Column("api_key_id", sa.String(16), nullable=False, server_default="")
    op.add_column("calls", of_key)
    op.add_column("calls", sa.Column("run", sa.Text, nullable=False, server_default=""))
    ledger = op.create_table(
        "ledger",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("api_key_id", sa.String(16), primary_key=True),
        sa.Column("judge", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", sa.Double),
    )
    connection = op.get_bind()
    if sums := sum_calls(_read_calls(connection)):
        connection.execute(sa.insert(ledger), sums)


def _read_calls(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """Yield all calls, some read at once."""
    query = sa.select(_CALLS).order_by(_CALLS.c.id).limit(_AT_ONCE)
    rows = connection.execute(query).all()
    while rows:
        yield from ({**row._mapping, "api_key_id": "", "run": ""} for row in rows)
        rows = connection.execute(query.where(_CALLS.c.id > rows[-1].id)).all()
