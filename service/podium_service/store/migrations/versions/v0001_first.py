"""The tables of databases from before there were versions: there is nothing to do.

Revision 0001.
"""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Leave all as it is."""
