"""Orders and notes of people; asks that judge an earlier one's group again.

Revision 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables, and add the columns."""
    gold = op.create_table(
        "gold",
        sa.Column("transcript", sa.LargeBinary(32), primary_key=True),
        sa.Column("api_key_id", sa.String(16), primary_key=True),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("ask", sa.BigInteger, nullable=False),
        sa.Column("group_id", sa.Text),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        sa.Column("tiers", sa.LargeBinary, nullable=False),
        sa.Column("is_blind", sa.Boolean, nullable=False),
    )
    op.create_index("ix_gold_made_at", gold.name, ["made_at"])
    notes = op.create_table(
        "notes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("ranking_id", sa.String(64), nullable=False),
        sa.Column("api_key_id", sa.String(16), nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_notes_ranking_id", notes.name, ["ranking_id"])
    op.add_column("asks", sa.Column("again_of", sa.BigInteger))
    flip = sa.Column("flip_order", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("asks", flip)
    again = sa.text("again_of IS NOT NULL")
    op.create_index(
        "asks_by_first", "asks", ["again_of", "id"], sqlite_where=again, postgresql_where=again
    )
