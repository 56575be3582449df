"""Tables that earlier versions made -> those of today, when a store is opened."""

import sqlalchemy as sa
import structlog

# Texts once stood by their hash alone, not packed, beside a table of the calls that show them.
_TEXTS_OF_BLOBS = """
INSERT INTO texts (key, hash, content)
SELECT DISTINCT calls.key, blobs.hash, blobs.content
FROM call_blobs
JOIN calls ON calls.id = call_blobs.call_id
JOIN blobs ON blobs.hash = call_blobs.hash
"""

log = structlog.get_logger(__name__)


def move_blobs(connection: sa.Connection) -> None:
    """Move the texts of a store that has tables `blobs` and `call_blobs`."""
    if not sa.inspect(connection).has_table("call_blobs"):
        return
    log.info("store_texts_moving")
    moved = connection.execute(sa.text(_TEXTS_OF_BLOBS)).rowcount
    connection.execute(sa.text("DROP TABLE call_blobs"))
    connection.execute(sa.text("DROP TABLE blobs"))
    log.info("store_texts_moved", texts=moved)
