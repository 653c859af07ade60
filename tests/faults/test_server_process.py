"""The server as a process: options, refusals to start, SIGTERM, time-outs, and two servers on one state folder."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import BIN, ROOT, ServerProcess, ended, worker_processes
from tests.support.projects import assert_whole, put_project


class StartTests(TestCase):
    timeout = 300

    def refused(self, *options: str, config: str = "") -> str:
        """Run the server with options that cannot be; gives what it says. Its exit code is not 0."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "c.toml").write_text(config)
        command = [str(BIN / "twistd"), "--nodaemon", "--pidfile=", "pfserver", "--config", "c.toml", "--state", "s"]
        off = ["--omi", "off", "--http", "off"]
        done = subprocess.run(
            [*command, *off, *options],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_what_cannot_be_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = self.refused("--pageflex", f"tcp:{port}:interface=127.0.0.1")
            self.assertIn("pfserver cannot start: pageflex cannot listen on", text)
            self.assertIn("in use", text)
            self.assertIn("warn no projects folder", text)
        free = ["--pageflex", "tcp:0:interface=127.0.0.1"]
        self.assertIn("unknown key 'sate'", self.refused(*free, config="sate = 1"))
        self.assertIn("executor", self.refused(*free, "--executor", "magic:3"))
        self.assertIn("[backends.nope]", self.refused(*free, config="[backends.nope]\nx = 1"))
        self.assertIn("[frontends.pageflex]", self.refused(*free, config="[frontends.pageflex]\nx = 1"))
        self.assertIn("--nonsense", self.refused("--nonsense"))
        self.assertIn(
            "job database /nowhere/at/all cannot be used: No such",
            self.refused(*free, "--store", "sqlite:////nowhere/at/all"),
        )

    def test_two_servers_on_one_state_folder(self) -> None:
        with ServerProcess(Path(self.mktemp())) as first:
            second = ServerProcess(first.folder)
            self.addCleanup(second.close)
            self.assertEqual(second.join(), 1)
            self.assertIn("another server works on the state folder", "".join(second.log))
            self.assertTrue(first.talk(packet("GetBuildString")).startswith(b"R0000000: pfserver "))

    def test_two_servers_on_one_database(self) -> None:
        with ServerProcess(Path(self.mktemp())) as first:
            database, link = first.state / "jobs.sqlite", Path(self.mktemp()).absolute()
            link.symlink_to(database)
            for path in (database, link):
                text = self.refused("--pageflex", "tcp:0:interface=127.0.0.1", "--store", f"sqlite:///{path}")
                self.assertIn(f"another server works on the job database {database}", text)
            self.assertTrue(first.talk(packet("GetBuildString")).startswith(b"R0000000: pfserver "))

    def test_an_option_for_each_front_end(self) -> None:
        done = subprocess.run(
            [str(BIN / "twistd"), "pfserver", "--help"], capture_output=True, text=True, timeout=60, cwd=ROOT
        )
        for option in ("--config", "--state", "--projects", "--store", "--executor", "--pageflex", "--omi", "--http"):
            self.assertIn(option, done.stdout)


class SignalTests(TestCase):
    timeout = 300

    def test_sigterm_under_load_exits_0_and_keeps_what_was_acknowledged(self) -> None:
        folder = Path(self.mktemp())
        acknowledged: list[bytes] = []
        refused: list[bytes] = []

        def submit(kind: str) -> None:
            while True:
                try:
                    reply = server.talk(packet("SubmitJob", ProjectName=kind, JobName="x"))
                except OSError:
                    return
                if reply.startswith(b"R0000000: T"):
                    acknowledged.append(reply[10:-2])
                else:
                    refused.append(reply)
                    return
                if len(acknowledged) == 300:
                    enough.set()

        enough = threading.Event()
        with ServerProcess(folder, config="shutdown_grace = 0.2") as server:
            load = [threading.Thread(target=submit, args=(kind,)) for kind in ("noop", "noop-output", "noop-slow")]
            for thread in load:
                thread.start()
            enough.wait(60)
            self.assertEqual(server.terminate(), 0)
            for thread in load:
                thread.join(60)
        self.assertIn("pfserver stopped", "".join(server.log))
        with ServerProcess(folder, config="[queues]\ndefault = 64\n") as server:
            self.assertEqual({ended(server, id_) for id_ in acknowledged}, {b"SUCCESS"})

    def test_a_packet_that_does_not_arrive_in_time(self) -> None:
        with ServerProcess(Path(self.mktemp()), config="[frontends.pageflex]\ntimeout = 1.5\n") as server:
            data = packet("SubmitJob", ProjectName="noop", JobName="x")
            for pause in (0.2, 60):
                began = time.monotonic()
                with socket.create_connection(server.pageflex, 60) as client:
                    for byte in data:
                        with contextlib.suppress(OSError):
                            client.sendall(bytes([byte]))
                        if select.select([client], [], [], pause)[0]:
                            break
                    self.assertEqual(client.recv(99), b"R0005107: the packet was not complete within 1.5 seconds\r\n")
                    self.assertEqual(client.recv(99), b"")
                self.assertGreaterEqual(time.monotonic() - began, 1.4)
            self.assertRegex(server.talk(packet("GetJobQueueLen")), rb"\AR0000000: 0 jobs waiting")
            self.assertEqual(server.talk(data), b"R0000000: T0000001\r\n")

    def test_sigterm_while_merge_jobs_run_gives_them_back_and_they_are_done_after_the_next_start(self) -> None:
        folder, records = Path(self.mktemp()), 4000
        put_project(folder / "projects", records)
        # Far less time than a job takes: what runs is given back, not finished.
        config = 'shutdown_grace = 0\nexecutor = "processes:2"\nattempts = 1\n[backends.merge]\nchunk = 20\n'
        variables = {"ProjectName": "a.pf", "JobName": "A"}
        with ServerProcess(folder, config=config) as server:
            submit = packet("SubmitJob", **variables)
            acknowledged = [server.talk(submit)[10:-2] for _ in range(3)]
            with socket.create_connection(server.pageflex, 60) as client:
                client.sendall(packet("SubmitJob", **variables, _sys_ClientJobMonitor="true"))
                received = b""
                while b"J0000112" not in received:
                    received += client.recv(4096)
                workers = worker_processes(server)
                self.assertEqual(server.terminate(), 0)
                while more := client.recv(4096):
                    received += more
            acknowledged.append(received[10 : received.index(b"\r\n")])
            self.assertIn(b"Back in the queue: the server stopped", received)
            self.assertNotIn(b"ended", received)
            self.assertTrue(workers)
            self.assertEqual([one for one in workers if Path(f"/proc/{one}").exists()], [])
            # Nothing of what was not finished is left beside what is.
            output = server.state / "output"
            self.assertEqual([path.name for path in output.iterdir()] if output.exists() else [], [])
        for path in folder.glob("projects/*.csv"):
            path.write_text("n\n" + "".join(f"{number}\n" for number in range(1, 41)))
        with ServerProcess(folder, config=config) as server:
            # An attempt that the server's end cut short does not count.
            self.assertEqual({id_: ended(server, id_) for id_ in acknowledged}, dict.fromkeys(acknowledged, b"SUCCESS"))
            for id_ in acknowledged:
                assert_whole(self, server.state / "output" / id_.decode(), 40)

    def test_ctrl_c_on_a_terminal(self) -> None:
        """A terminal sends it to the workers as well: they finish what they do, and nobody prints a traceback."""
        folder = Path(self.mktemp())
        config = "shutdown_grace = 0.2"
        with ServerProcess(folder, config=config, projects=ROOT / "examples" / "projects") as server:
            variables = {"ProjectName": "Price List/Price List.pf", "JobName": "Single Pages"}
            with socket.create_connection(server.pageflex, 60) as client:
                client.sendall(packet("SubmitJob", **variables, _sys_ClientJobMonitor="true"))
                received = b""
                while b"J0000112" not in received:
                    received += client.recv(4096)
                os.killpg(server.process.pid, signal.SIGINT)
                while more := client.recv(4096):
                    received += more
            self.assertEqual(server.join(), 0)
        log = "".join(server.log)
        self.assertIn("pfserver is stopping; running jobs get 0.2 seconds", log)
        self.assertIn("pfserver stopped", log)
        for noise in ("Traceback", "KeyboardInterrupt", "leaked"):
            self.assertNotIn(noise, log)
        self.assertIn(b"Back in the queue: the server stopped", received)

    def test_a_second_signal_does_not_wait(self) -> None:
        with ServerProcess(Path(self.mktemp()), config="shutdown_grace = 3600") as server:
            server.talk(packet("SubmitJob", ProjectName="noop-stuck", JobName="x"))
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("pfserver is stopping")
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.join(), -signal.SIGTERM)

    def test_systemd_hears_when_it_is_ready_and_when_it_stops(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        # A socket's path may have 107 bytes, which a test's own folder may use up.
        place = tempfile.mkdtemp(prefix="pfserver-")
        self.addCleanup(shutil.rmtree, place)
        path = f"{place}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path)
            systemd.settimeout(60)
            with ServerProcess(folder / "server", environment={"NOTIFY_SOCKET": path}) as server:
                self.assertEqual(systemd.recv(100), b"READY=1")
                self.assertEqual(server.terminate(), 0)
                self.assertEqual(systemd.recv(100), b"STOPPING=1")

    def test_a_monitor_is_told_nothing_false_when_the_server_stops(self) -> None:
        with ServerProcess(Path(self.mktemp()), config="shutdown_grace = 0") as server:
            client = socket.create_connection(server.pageflex, 60)
            self.addCleanup(client.close)
            client.sendall(packet("SubmitJob", ProjectName="noop-slow", JobName="x", _sys_ClientJobMonitor="true"))
            received = b""
            while b"Machine name" not in received:
                received += client.recv(4096)
            self.assertEqual(server.terminate(), 0)
            while more := client.recv(4096):
                received += more
        self.assertNotIn(b"ended", received)
        self.assertIn(b"J0000116: Back in the queue: the server stopped\r\n", received)
