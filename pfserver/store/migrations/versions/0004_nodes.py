"""The servers that share a database: each counts on in its row, so that the others see that it lives."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )
