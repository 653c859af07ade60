"""The command line against a real server: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.process import BIN, PATIENCE, ROOT, ServerProcess


def run(*arguments: str, server: str = "127.0.0.1:1", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``pfserver`` as a user does."""
    return subprocess.run(
        [str(BIN / "pfserver"), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env={**os.environ, "PFSERVER_SERVER": server, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
    )


class SampleTests(SynchronousTestCase):
    """The way of a newcomer."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        done = run("init", "projects", cwd=self.folder)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.server = ServerProcess(self.folder / "server", projects=self.folder / "projects")
        self.addCleanup(self.server.close)
        self.server.wait()
        self.address = "{}:{}".format(*self.server.pageflex)

    def run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, server=self.address, cwd=self.folder)

    def test_the_whole_tour(self) -> None:
        done = self.run_here(
            *("submit", "Sample Project.pf", "Job 1", "--watch", "-j", "_sys_Priority=3", "-d", "season=autumn 2027"),
            *("--download", "here", "--output-root", str(self.server.state / "output")),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual((lines[0], lines[-1]), ("T0000001", "J0000001 Transaction T0000001 ended"))
        self.assertIn("J0000101 Job Status = SUCCESS", lines)
        files = sorted(path.name for path in (self.folder / "here" / "T0000001").iterdir())
        self.assertIn("001.pdf", files)
        self.assertIn("job.json", files)

        self.assertEqual(self.run_here("status", "T0000001").stdout, "Job Status = SUCCESS\n")
        status = json.loads(self.run_here("status", "T0000001", "--json").stdout)
        self.assertEqual(status, {"transaction": "T0000001", "status": "SUCCESS", "done": True})
        self.assertEqual(self.run_here("log", "T0000001").stdout.splitlines(), lines[1:])
        watched = self.run_here("watch", "T0000001")
        self.assertEqual((watched.returncode, watched.stdout.splitlines()), (0, lines[1:]))
        self.assertEqual(self.run_here("jobs").stdout, "T0000001  SUCCESS\n")
        # Those above are gone, as after retention; so many of them that no older one is looked for.
        self.assertEqual(self.run_here("jobs", "--from", "T0000009").stdout, "T0000001  SUCCESS\n")
        self.assertEqual(self.run_here("jobs", "--from", "T999999999999999999").stdout, "")
        self.assertEqual(self.run_here("queue", "default").stdout, "0 waiting in default\n")
        self.assertEqual(json.loads(self.run_here("queue", "--json").stdout), {"queue": None, "waiting": 0})
        self.assertEqual(self.run_here("cancel", "T0000001").stdout, "T0000001: Job Status = SUCCESS\n")

    def test_a_terminal_sees_a_bar(self) -> None:
        """Run on a pseudo-terminal: the bar is there, and what it shows is not printed as well."""
        controller, terminal = os.openpty()
        environment = {**os.environ, "PFSERVER_SERVER": self.address, "PYTHONPATH": str(ROOT)}
        command = [str(BIN / "pfserver"), "submit", "Sample Project.pf", "Job 1", "--watch"]
        with subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env={**environment, "TERM": "xterm-256color"}
        ) as process:
            os.close(terminal)
            printed = b""
            try:
                while more := os.read(controller, 65536):
                    printed += more
            except OSError:
                pass  # How Linux tells that the other side of a pseudo-terminal is closed.
            os.close(controller)
        text = printed.decode()
        self.assertEqual(process.returncode, 0, text)
        self.assertIn("\u2501" * 30, text)
        self.assertIn("J0000101 Job Status = SUCCESS", text)
        self.assertIn("12 documents", text)

    def test_outcomes_are_exit_codes(self) -> None:
        project = self.folder / "projects" / "fails.pf"
        project.write_text(
            '[data]\nsource = "r.jsonl"\n[jobs.some]\ntemplate = "t.typ"\n[jobs.all]\ntemplate = "broken.typ"\n'
        )
        (project.parent / "r.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
        (project.parent / "t.typ").write_text("#let template(record, job) = [#record.a]")
        (project.parent / "broken.typ").write_text("#let template(record, job) = [")
        self.assertEqual(self.run_here("submit", "fails.pf", "some", "--watch").returncode, 1)
        failed = self.run_here("submit", "fails.pf", "all", "--watch", "--json")
        self.assertEqual(failed.returncode, 2)
        records = [json.loads(line) for line in failed.stdout.splitlines()]
        self.assertEqual(records[0], {"transaction": "T0000002"})
        self.assertIn(5011, [record.get("number") for record in records])
        slow = self.run_here("submit", "noop-slow", "x").stdout.strip()
        cancelled = self.run_here("cancel", "T0000099", slow)
        self.assertEqual((cancelled.returncode, cancelled.stdout[:8]), (65, slow))
        self.assertEqual(self.run_here("watch", slow).returncode, 3)

    def test_what_the_server_refuses(self) -> None:
        for arguments in (("submit", "nope.pf", "x"), ("status", "T0000099"), ("queue", "nope")):
            done = self.run_here(*arguments)
            self.assertEqual(done.returncode, 65)
            self.assertTrue(done.stderr.startswith("pfserver: "), done.stderr)
            self.assertNotIn("Traceback", done.stderr)


class AloneTests(SynchronousTestCase):
    def test_no_server(self) -> None:
        done = run("status", "T0000001")
        self.assertEqual(done.returncode, 69)
        self.assertIn("no server answers at 127.0.0.1:1", done.stderr)

    def test_usage(self) -> None:
        for arguments in (("nope",), ("submit",), ("submit", "a", "b", "-j", "x"), ("status", "T1", "--x")):
            self.assertEqual(run(*arguments).returncode, 64, arguments)
        self.assertEqual(run("status", "T0000001", server="host:port").returncode, 64)

    def test_init_writes_nothing_over_something(self) -> None:
        folder = Path(self.mktemp())
        self.assertEqual(run("init", str(folder)).returncode, 0)
        again = run("init", str(folder))
        # 1 would say that a job was partially completed.
        self.assertEqual(again.returncode, 74)
        self.assertIn("nothing was written", again.stderr)

    def test_output_that_nobody_takes(self) -> None:
        command = f"{BIN / 'pfserver'} --version >/dev/full"
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (74, "pfserver: output: No space left on device\n"))

    def test_completion(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("_PFSERVER_COMPLETE", run("completion", shell).stdout)

    def test_completion_completes(self) -> None:
        for words, expected in (("pfserver sub", "submit"), ("pfserver submit a.pf --w", "--watch")):
            done = subprocess.run(
                [str(BIN / "pfserver")],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "_PFSERVER_COMPLETE": "bash_complete",
                    "COMP_WORDS": words,
                    "COMP_CWORD": str(words.count(" ")),
                },
            )
            self.assertEqual(done.stdout, f"plain,{expected}\n", done.stderr)

    def test_doctor(self) -> None:
        done = run("doctor")
        self.assertIn("All that the server needs is here.", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("twistd pfserver", done.stdout)
        self.assertEqual(run("--omi", "host:port", "doctor").returncode, 64)
        self.assertEqual(run("--http", "http://x:port", "doctor").returncode, 64)
        findings = json.loads(run("doctor", "--json").stdout)
        self.assertEqual(next(one for one in findings if one["name"] == "server")["found"], "")

    def test_doctor_says_what_is_missing(self) -> None:
        # The packages' records are hidden as if they had never been installed, and no program is on the path.
        code = (
            "import importlib.metadata as m; real = m.version\n"
            "def version(name):\n"
            "    if name in HIDDEN: raise m.PackageNotFoundError(name)\n"
            "    return real(name)\n"
            "m.version = version\n"
            "from pfserver.client.cli import main; main()"
        )
        for hidden, exit_code, verdict in (
            ({"psycopg"}, 0, "All that the server needs is here."),
            ({"typst", "lmdb"}, 1, "pfserver cannot run without: typst, lmdb. Install it again: pip install pfserver"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", f"HIDDEN = {hidden!r}\n{code}", "doctor"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                env={**os.environ, "PATH": "/nowhere", "PFSERVER_SERVER": "127.0.0.1:1", "PYTHONPATH": str(ROOT)},
            )
            self.assertIn(verdict, done.stdout)
            self.assertEqual((done.returncode, done.stderr), (exit_code, ""))
            for name in (*hidden, "soffice", "pdftoppm", "server"):
                self.assertRegex(done.stdout, rf"(?m)^missing {name} +\S.*")
            self.assertIn("apt-get install poppler-utils", done.stdout)

    def test_help_needs_no_heavy_library(self) -> None:
        code = "import sys; from pfserver.client.cli import cli; cli.main(['submit', '--help'], standalone_mode=False)"
        code += "; print([name for name in ('typst', 'sqlalchemy', 'twisted.internet.reactor') if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
        self.assertEqual(done.stdout.splitlines()[-1], "[]")


class StrangeServerTests(SynchronousTestCase):
    """A server that is none, or that is hostile."""

    def answered(self, answer: Callable[[socket.socket], None]) -> subprocess.CompletedProcess[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    answer(connection)

            thread = threading.Thread(target=serve)
            thread.start()
            done = run("status", "T0000001", server=f"127.0.0.1:{listener.getsockname()[1]}")
            thread.join(PATIENCE)
        return done

    def test_another_protocol(self) -> None:
        done = self.answered(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.assertEqual(done.returncode, 69)
        self.assertIn("no line of the Pageflex Server socket API", done.stderr)

    def test_silence(self) -> None:
        self.assertEqual(self.answered(lambda connection: None).returncode, 69)

    def test_control_characters_do_not_reach_the_terminal(self) -> None:
        done = self.answered(lambda connection: connection.sendall(b"R0000000: Job \x1b[2JStatus = X\r\n"))
        self.assertEqual(done.returncode, 0)
        self.assertNotIn("\x1b", done.stdout)
