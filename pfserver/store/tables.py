"""The tables as SQLAlchemy Core sees them today; the migrations say how they came to be. A test holds both together."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

COUNTERS = sa.Table(
    "counters",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", _ID, primary_key=True, autoincrement=False),
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
    sa.Column("home", sa.Text, nullable=False, server_default=""),
)

NODES = sa.Table(
    "nodes",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("beats", sa.BigInteger, nullable=False),
)

MESSAGES = sa.Table(
    "messages",
    METADATA,
    sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("time", sa.Float(53), nullable=False),
)

ARTIFACTS = sa.Table(
    "artifacts",
    METADATA,
    sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("pages", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
)

ACCOUNTS = sa.Table(
    "accounts",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rights", sa.Text, nullable=False),
)

TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
)

FACTORIES = sa.Table(
    "factories",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("own_only", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("last_seen", sa.Float(53)),
    sa.Column("polls", sa.BigInteger, nullable=False),
    sa.Column("leased", sa.BigInteger, nullable=False),
    sa.Column("finished", sa.BigInteger, nullable=False),
)

WORKERS = sa.Table(
    "workers",
    METADATA,
    sa.Column("factory", sa.Text, primary_key=True),
    sa.Column("application", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("doctypes", sa.Text, nullable=False),
    sa.Column("formats", sa.Text, nullable=False),
)

HANDOUTS = sa.Table(
    "handouts",
    METADATA,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("job_id", sa.BigInteger, nullable=False, unique=True),
)
