"""The schema's history as Alembic migrations; :func:`upgrade` brings a database up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that this database lacks, in one transaction. Blocks."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, "heads")
