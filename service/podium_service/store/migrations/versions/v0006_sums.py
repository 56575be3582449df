"""The index of runs holds what the list of runs sums up.

Revision 0006.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the index anew."""
    op.drop_index("asks_by_run", "asks")
    op.create_index("asks_by_run", "asks", ["run", "step", "id", "code", "cost_usd", "tokens"])
