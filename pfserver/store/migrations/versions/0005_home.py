"""The server that alone can do a job, of several that share the jobs: what was sent with it lies there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("home", sa.Text, nullable=False, server_default=""))
