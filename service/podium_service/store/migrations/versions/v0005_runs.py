"""What runs show of a group: its kind, its win rate, its verified rewards; sets of gold.

Revision 0005. Groups from before have none of these, because their texts would have to be read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns, and create the table."""
    op.add_column("asks", sa.Column("kind", sa.Text))
    op.add_column("asks", sa.Column("win_rate", sa.Float))
    op.add_column("asks", sa.Column("verified", sa.Float))
    sets = op.create_table(
        "gold_sets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("transcript", sa.LargeBinary(32), primary_key=True),
        sa.Column("ask", sa.BigInteger, nullable=False),
        sa.Column("added_at", sa.Double, nullable=False),
    )
    op.create_index("ix_gold_sets_ask", sets.name, ["ask"])
