"""What surrounds a server process: its state folder, clock, log lines, systemd, ports."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import ServerFactory
from twisted.logger import FileLogObserver, Logger, LogPublisher, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pfserver.errors import ConfigurationError, StateInUse
from pfserver.host import logs
from pfserver.host.clock import steady_clock
from pfserver.host.notify import notify
from pfserver.host.ports import Ports
from pfserver.host.state import StateFolder


class StateTests(TestCase):
    def test_one_server_at_a_time(self) -> None:
        path = Path(self.mktemp())
        first = StateFolder(path)
        with self.assertRaises(StateInUse):
            StateFolder(path)
        first.release()
        StateFolder(path).release()

    def test_the_node_keeps_its_name(self) -> None:
        first = StateFolder(Path(self.mktemp()))
        other = StateFolder(Path(self.mktemp()))
        name = first.node("press")
        self.assertTrue(name.startswith("press/"), name)
        # A container has another host's name each time; the jobs that it worked on are still its own.
        self.assertEqual(first.node("press-2"), name)
        self.assertNotEqual(first.node("press"), other.node("press"))
        (other.path / "node").write_text("0123abcd")
        self.assertEqual((other.node("old"), other.node("new")), ("old/0123abcd", "old/0123abcd"))
        first.release()
        other.release()

    def test_a_folder_that_cannot_be_made(self) -> None:
        path = Path(self.mktemp())
        path.touch()
        with self.assertRaises(ConfigurationError):
            StateFolder(path)


class ClockTests(TestCase):
    def test_setting_the_wall_clock_does_not_move_it(self) -> None:
        wall, boot = [1000.0], [5.0]
        seconds = steady_clock(lambda: wall[0], lambda: boot[0])
        self.assertEqual(seconds(), 1000)
        wall[0] += 86400
        boot[0] += 2
        self.assertEqual(seconds(), 1002)

    def test_the_real_one_begins_at_the_time_of_day(self) -> None:
        self.assertGreater(steady_clock()(), 1_700_000_000)


class LogTests(TestCase):
    def lines(self, style: Any, emit: Any) -> str:
        output = io.StringIO()
        publisher = LogPublisher(FileLogObserver(output, style))
        emit(Logger(namespace="pfserver.engine", observer=publisher))
        return output.getvalue()

    def test_text(self) -> None:
        line = self.lines(logs.text_line, lambda log: log.info("job.done", transaction="T1", text='a "b"', empty=""))
        self.assertTrue(line.endswith(' info job.done transaction=T1 text="a \\"b\\"" empty=""\n'), line)

    def test_fields_in_the_text_are_not_repeated(self) -> None:
        line = self.lines(logs.text_line, lambda log: log.info("{name} listening on {address}", name="x", address="y"))
        self.assertTrue(line.endswith(" info x listening on y\n"), line)

    def test_a_peer_cannot_forge_lines(self) -> None:
        line = self.lines(logs.text_line, lambda log: log.info("bad", text="one\ntwo\x1b[2J"))
        self.assertEqual(line.count("\n"), 1)
        self.assertNotIn("\x1b", line)

    def test_json(self) -> None:
        line = self.lines(logs.json_line, lambda log: log.warn("job {n} late", n=3, by="me"))
        record = json.loads(line)
        self.assertEqual(
            (record["level"], record["event"], record["text"], record["n"], record["by"], record["source"]),
            ("warn", "job {n} late", "job 3 late", 3, "me", "pfserver.engine"),
        )

    def test_tracebacks(self) -> None:
        def emit(log: Logger) -> None:
            log.failure("broken", Failure(ZeroDivisionError("why")))

        self.assertIn("ZeroDivisionError: why", self.lines(logs.text_line, emit))
        self.assertIn("ZeroDivisionError: why", json.loads(self.lines(logs.json_line, emit))["traceback"])

    def test_where_it_goes(self) -> None:
        self.assertIsNone(logs.observer({"syslog": True}, "text"))
        self.assertIsNotNone(logs.observer({"nodaemon": True}, "text"))
        path = Path(self.mktemp())
        observer = logs.observer({"logfile": str(path)}, "json")
        assert observer is not None
        Logger(namespace="pfserver.x", observer=observer).info("hello")
        self.assertEqual(json.loads(path.read_text())["event"], "hello")


class NotifyTests(TestCase):
    def test_systemd_hears_it(self) -> None:
        path = Path(self.mktemp())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": str(path.absolute())})
            notify("READY=1")
            self.assertEqual(receiver.recv(100), b"READY=1")

    def test_nobody_to_tell(self) -> None:
        self.patch(os, "environ", {})
        self.assertIsNone(notify("READY=1"))


class PortTests(TestCase):
    async def test_listen_announce_close(self) -> None:
        ports = Ports(reactor)
        await ports.listen("pageflex", "tcp:0:interface=127.0.0.1", ServerFactory())
        await ports.listen("pageflex", "tcp6:0:interface=::1".replace("::1", "\\:\\:1"), ServerFactory())
        with capturedLogs() as events:
            ports.announce()
        address, address6 = [str(formatEvent(event)) for event in events]
        self.assertRegex(address, r"^pageflex listening on 127\.0\.0\.1:\d+$")
        self.assertRegex(address6, r"^pageflex listening on \[::1\]:\d+$")
        with self.assertRaises(ConfigurationError) as caught:
            await ports.listen("omi", f"tcp:{address.split(':')[1]}:interface=127.0.0.1", ServerFactory())
        self.assertIn("in use", str(caught.exception))
        await ports.close()

    async def test_an_endpoint_that_is_none(self) -> None:
        for endpoint in ("nonsense:1", "tcp:port", "tcp:"):
            with self.assertRaises(ConfigurationError):
                await Ports(reactor).listen("x", endpoint, ServerFactory())
