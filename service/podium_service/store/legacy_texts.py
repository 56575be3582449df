"""Where earlier versions kept texts: by their hash alone, not packed, beside which calls show them.

Nothing is written there any more, but by processes of such a version that use the store, too. What
is there is read like the others, and goes with its calls.
"""

from collections.abc import Sequence

import sqlalchemy as sa

_METADATA = sa.MetaData()
_BLOBS = sa.Table(
    "blobs", _METADATA,
    sa.Column("hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip
_CALL_BLOBS = sa.Table(
    "call_blobs", _METADATA,
    sa.Column("call_id", sa.String(32), primary_key=True),
    sa.Column("hash", sa.LargeBinary(32), primary_key=True, index=True),
    sqlite_with_rowid=False,
)  # fmt: skip


def legacy_texts(connection: sa.Connection, call_ids: Sequence[str]) -> dict[bytes, bytes]:
    """The texts that these calls show, by hash, as far as they are there."""
    if not _are_there(connection):
        return {}
    shown = sa.select(_CALL_BLOBS.c.hash).where(_CALL_BLOBS.c.call_id.in_(call_ids))
    rows = connection.execute(sa.select(_BLOBS).where(_BLOBS.c.hash.in_(shown)))
    return {row.hash: row.content for row in rows}


def delete_legacy_texts(connection: sa.Connection, call_ids: Sequence[str]) -> int:
    """Delete the texts that only these calls show; returns how many those were."""
    if not _are_there(connection):
        return 0
    of_calls = _CALL_BLOBS.c.call_id.in_(call_ids)
    hashes = connection.execute(sa.select(_CALL_BLOBS.c.hash).where(of_calls)).scalars().all()
    connection.execute(sa.delete(_CALL_BLOBS).where(of_calls))
    shown = sa.select(_CALL_BLOBS.c.hash).where(_CALL_BLOBS.c.hash == _BLOBS.c.hash).exists()
    of_nobody = sa.and_(_BLOBS.c.hash.in_(set(hashes)), ~shown)
    return connection.execute(sa.delete(_BLOBS).where(of_nobody)).rowcount


def _are_there(connection: sa.Connection) -> bool:
    inspector = sa.inspect(connection)
    return inspector.has_table("blobs") and inspector.has_table("call_blobs")
