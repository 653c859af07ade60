"""Statements that go to SQLite at once behave as those that SQLAlchemy executes."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from twisted.trial.unittest import SynchronousTestCase

from pfserver.store.statements import Bulk, Statement, execute_at_once

TABLE = sa.Table("pairs", sa.MetaData(), sa.Column("key", sa.Integer, primary_key=True), sa.Column("value", sa.Text))
WANTED = sa.select(TABLE.c.key, TABLE.c.value).where(TABLE.c.key >= sa.bindparam("least")).order_by(TABLE.c.key)


class StatementTests(SynchronousTestCase):
    def setUp(self) -> None:
        engine = sa.create_engine("sqlite://", connect_args={"isolation_level": None})
        # As the store has it: the driver begins nothing by itself.
        sa.event.listen(engine, "begin", lambda connection: execute_at_once(connection, "BEGIN"))
        self.connection = engine.connect()
        self.addCleanup(engine.dispose)
        self.addCleanup(self.connection.close)
        TABLE.create(self.connection)
        self.connection.commit()
        # The order of the names is not the table's.
        self.insert = Bulk(sa.insert(TABLE), ["value", "key"])

    def test_rows_and_numbers(self) -> None:
        wanted, change = Statement(WANTED.limit(sa.bindparam("most"))), Statement(sa.update(TABLE).values(value="x"))
        with self.connection.begin():
            self.insert.execute(self.connection, [("one", 1), ("two", 2)])
            self.insert.execute(self.connection, [])
            self.assertEqual(wanted.rows(self.connection, least=1, most=9), [(1, "one"), (2, "two")])
            self.assertEqual(wanted.scalar(self.connection, least=2, most=9), 2)
            self.assertIsNone(wanted.scalar(self.connection, least=3, most=9))
            self.assertEqual(change.change(self.connection), 2)

    def test_a_parameter_that_is_needed_twice(self) -> None:
        wanted = Statement(WANTED.where(TABLE.c.key < sa.bindparam("least") + 2))
        with self.connection.begin():
            self.insert.execute(self.connection, [(str(key), key) for key in range(5)])
            self.assertEqual(wanted.rows(self.connection, least=2), [(2, "2"), (3, "3")])

    def test_parameters_that_are_missing_or_nobody_knows(self) -> None:
        wanted = Statement(WANTED)
        with self.connection.begin():
            for given in ({}, {"last": 3}, {"least": 1, "last": 3}):
                with self.assertRaises((ValueError, KeyError)):
                    wanted.rows(self.connection, **given)

    def test_lists_are_refused(self) -> None:
        some = Statement(sa.select(TABLE).where(TABLE.c.key.in_(sa.bindparam("keys", expanding=True))))
        with self.connection.begin(), self.assertRaises(ValueError):
            some.rows(self.connection, keys=[1])

    def test_errors_are_sqlalchemys(self) -> None:
        # The second row is read after the statement has begun.
        late = Statement(sa.text("SELECT 1 UNION ALL SELECT abs(-9223372036854775807 - 1)").columns(sa.column("n")))
        with self.connection.begin():
            with self.assertRaises(OperationalError):
                late.rows(self.connection)
            with self.assertRaises(IntegrityError):
                self.insert.execute(self.connection, [("one", 1), ("one", 1)])

    def test_a_transaction_is_begun(self) -> None:
        self.insert.execute(self.connection, [("one", 1)])
        self.assertEqual(Statement(WANTED).rows(self.connection, least=0), [(1, "one")])
        self.assertTrue(self.connection.in_transaction())
        self.connection.rollback()
        self.assertEqual(Statement(WANTED).rows(self.connection, least=0), [])
