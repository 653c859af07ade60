"""Jobs, their messages and artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('job', 0)")
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("variables", sa.Text, nullable=False),
        sa.Column("document_variables", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("request_group", sa.Text, nullable=False),
        sa.Column("output_folder", sa.Text, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.Column("total", sa.BigInteger),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Float(53)),
    )
    # Partial: waiting and working jobs stay quick to find among any number of done ones.
    op.execute("CREATE INDEX jobs_waiting ON jobs (queue, priority DESC, id) WHERE state = 'queued'")
    op.execute("CREATE INDEX jobs_unfinished ON jobs (id) WHERE state <> 'done'")
    op.execute("CREATE INDEX jobs_working ON jobs (node) WHERE state IN ('running', 'cancelling')")
    op.execute("CREATE INDEX jobs_leased ON jobs (lease_until) WHERE lease_until IS NOT NULL")
    op.execute("CREATE INDEX jobs_done ON jobs (finished_at, id) WHERE state = 'done'")
    op.execute("CREATE INDEX jobs_group ON jobs (request_group) WHERE request_group <> ''")
    op.create_table(
        "messages",
        sa.Column("job_id", sa.BigInteger, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("time", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.BigInteger, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, primary_key=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
