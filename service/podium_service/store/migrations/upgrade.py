"""Run the migrations that a database lacks, by alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory


def upgrade(connection: sa.Connection) -> None:
    """Bring the tables to the last version, in the transaction that is open."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with EnvironmentContext(
        config, script, fn=lambda version, _: script._upgrade_revs("head", version)
    ) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
