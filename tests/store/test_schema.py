"""The schema, how databases come to it, and the settings that make a commit durable."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from pfserver.model import Outcome
from pfserver.store import migrations
from pfserver.store.database import Database
from pfserver.store.jobs import JobStore
from pfserver.store.tables import METADATA
from tests.store.test_jobs import NODE, StoreCase, request


class SchemaTests(StoreCase):
    async def test_a_commit_is_on_disk_when_it_is_acknowledged(self) -> None:
        def settings(connection: sa.Connection, payloads: Sequence[None]) -> list[Any]:
            names = ("journal_mode", "synchronous")
            return [[connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names] for _ in payloads]

        # 2: FULL. The connection that writes, whichever time it was opened.
        for _ in range(2):
            self.assertEqual(await self.database.write(settings, None), ["wal", 2])
            self.assertEqual(await self.database.read(settings, [None]), [["wal", 2]])
            self.reopen()

    def test_rows_of_the_first_schema_are_kept(self) -> None:
        path = Path(self.mktemp())
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        engine = sa.create_engine(f"sqlite:///{path}")
        self.addCleanup(engine.dispose)
        job = {
            "id": 1,
            "project": "ä.pf",
            "job": "Job 1",
            "variables": '{"a": "b"}',
            "document_variables": "{}",
            "queue": "default",
            "priority": 3,
            "backend": "merge",
            "account": "",
            "request_group": "g",
            "output_folder": "",
            "max_attempts": 3,
            "state": "queued",
            "attempts": 1,
            "node": "",
            "created_at": 7.5,
            "documents": 0,
            "pages": 0,
            "failures": 0,
            "messages": 1,
        }
        done = {**job, "id": 2, "state": "done", "outcome": 21, "finished_at": 9.0, "documents": 2, "pages": 4}
        message = {"job_id": 1, "sequence": 1, "number": 100, "text": "Machine name: m", "time": 7.5}
        artifact = {
            "job_id": 2,
            "name": "001.pdf",
            "media_type": "application/pdf",
            "size": 5,
            "pages": 4,
            "sha256": "",
        }
        rows = {"jobs": [job, done], "messages": [message], "artifacts": [artifact]}
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            with connection.begin():
                command.upgrade(config, "0001")
            with connection.begin():
                connection.execute(sa.text("UPDATE counters SET value = 2"))
                for table, values in rows.items():
                    for row in values:
                        names = ", ".join(row)
                        marks = ", ".join(f":{name}" for name in row)
                        connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)
            migrations.upgrade(connection)
            for name, values in rows.items():
                kept = connection.execute(sa.select(METADATA.tables[name])).mappings().all()
                self.assertEqual([{**row, **given} for row, given in zip(kept, values, strict=True)], kept)
            tables = set(sa.inspect(connection).get_table_names())
        self.assertEqual(tables - {"alembic_version"}, set(METADATA.tables))
        database = Database(f"sqlite:///{path}", reactor)
        database.open()
        self.addCleanup(database.close)
        store = JobStore(database, self.clock)

        async def claimed() -> None:
            self.assertEqual((await store.get(2)).outcome, Outcome.PARTIAL)
            (first,) = await store.claim("default", ["merge"], 5, node=NODE)
            self.assertEqual((first.id, first.request.variables, first.attempts), (1, {"a": "b"}, 2))
            (new,) = await store.add([request()])
            self.assertEqual(new.id, 3)

        return ensureDeferred(claimed())  # type: ignore[return-value]

    def test_tables_and_migrations_agree(self) -> None:
        inspector = sa.inspect(sa.create_engine(f"sqlite:///{self.path}"))
        for table in METADATA.tables.values():
            migrated = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            self.assertEqual({column.name: column.nullable for column in table.c}, migrated, table.name)

    def test_waiting_jobs_are_found_by_their_index(self) -> None:
        with sqlite3.connect(self.path) as connection:
            for names in (("merge",), ("merge", "office", "process", "mumps")):
                plan = connection.execute(
                    "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = 'queued' AND queue = ?"
                    f" AND home IN ('', ?) AND backend IN ({', '.join('?' * len(names))})"
                    " ORDER BY priority DESC, id LIMIT 5",
                    ("default", "node", *names),
                ).fetchall()
                self.assertIn("jobs_waiting", str(plan))
                self.assertNotIn("TEMP B-TREE", str(plan))

    def test_leasable_jobs_are_found_by_their_index(self) -> None:
        waiting = "SELECT * FROM jobs WHERE state = 'queued' AND home IN ('', 'n') AND backend = ? AND account"
        with sqlite3.connect(self.path) as connection:
            for rest in (
                "> 'a' ORDER BY account LIMIT 1",
                "= 'a' ORDER BY priority DESC, id LIMIT 5",
                "= 'a' AND (priority < 5 OR (priority = 5 AND id > 7)) ORDER BY priority DESC, id LIMIT 5",
            ):
                plan = str(connection.execute(f"EXPLAIN QUERY PLAN {waiting} {rest}", ("factory",)).fetchall())
                self.assertIn("jobs_leasable", plan)
                self.assertNotIn("TEMP B-TREE", plan)
