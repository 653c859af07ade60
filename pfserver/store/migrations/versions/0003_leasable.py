"""An index for leases: the waiting jobs of each account, so that one with many cannot hide those of others."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX jobs_leasable ON jobs (backend, account, priority DESC, id) WHERE state = 'queued'")
