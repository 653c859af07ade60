"""Factories against a real server, with LibreOffice and with programs: nothing is lost, nothing is done twice."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from pathlib import Path
from uuid import UUID

from pypdf import PdfReader

from pfserver.factory.program import PLACEHOLDERS
from tests.backends.office import samples
from tests.factory.support import PDF, FactoryCase


class OfficeTests(FactoryCase):
    """Rendering with this machine's LibreOffice."""

    def test_documents(self) -> None:
        factory = self.start("--jobs", "1")
        odt = samples.odt(self.folder / "letter.odt", pages=4)
        ods = samples.ods(self.folder / "table.ods")
        odp = samples.odp(self.folder / "slides.odp")
        jobs = {
            self.submit(odt): ("letter.pdf", ["Hello from page 1", "Hello from page 4"]),
            self.submit(odt, pages="2-3"): ("letter.pdf", ["Hello from page 2", "Hello from page 3"]),
            self.submit(ods): ("table.pdf", ["Cell 5"]),
            self.submit(odp, ""): ("slides.pdf", ["Slide 2"]),
        }
        factory.wait_for("finished", len(jobs))
        for job, (name, texts) in jobs.items():
            status = self.wait_done(job)
            self.assertEqual(status["outcome"], "SUCCESS", status)
            text = samples.pdf_text(self.fetch(job, name))
            for expected in texts:
                self.assertIn(expected, text)
        ranged = self.fetch(list(jobs)[1], "letter.pdf")
        self.assertEqual(len(PdfReader(ranged).pages), 2)
        self.assertEqual(factory.terminate(), 0)
        self.assertEqual(self.kept(), [])

    def test_png_and_odf(self) -> None:
        self.start("--jobs", "1")
        odt = samples.odt(self.folder / "letter.odt", pages=2)
        png = self.submit(odt, "png", pages="2")
        odf = self.submit(odt, "odf")
        self.assertEqual(self.wait_done(png)["artifacts"][0]["name"], "letter.png")
        self.assertTrue(self.fetch(png, "letter.png").read_bytes().startswith(b"\x89PNG\r\n"))
        self.assertEqual(self.wait_done(odf)["artifacts"][0]["media_type"], "application/vnd.oasis.opendocument.text")

    def test_pages_that_are_not_there(self) -> None:
        factory = self.start("--jobs", "1")
        status = self.wait_done(self.submit(samples.odt(self.folder / "letter.odt"), pages="7-9"))
        self.assertEqual(status["outcome"], "FAILED")
        self.assertIn("My factory: there are no such pages: 7-9", self.texts(status))
        self.assertEqual(len(factory.wait_for("released", 3)), 3)

    def test_nothing_is_left_over(self) -> None:
        factory = self.start("--jobs", "1")
        self.submit(samples.odt(self.folder / "letter.odt"))
        factory.wait_for("finished")
        self.assertTrue(_soffice_in(self.folder))
        self.assertEqual(factory.terminate(), 0)
        self.assertEqual(_soffice_in(self.folder), [])


class ProgramTests(FactoryCase):
    """Rendering with a command line."""

    def program(self, code: str) -> str:
        """A command that runs a Python program with the document's path as its argument."""
        path = self.folder / "program.py"
        path.write_text(code)
        return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"

    def test_placeholders(self) -> None:
        seen = self.folder / "seen.json"
        code = (
            "import sys, pathlib, json\n"
            f"pathlib.Path({str(seen)!r}).write_text(json.dumps(sys.argv[1:]))\n"
            f"pathlib.Path(sys.argv[-1] + '/out.pdf').write_bytes({PDF!r})\n"
        )
        worker = {"application": "LibreOffice Writer", "version": "7.4"}
        self.call("pfserver.factories.put", {"name": "My factory", "workers": [worker]})
        each = " ".join(f"{name}=%{name}" for name in PLACEHOLDERS)
        command = f"{self.program(code)} 100%% {each} %source_dir"
        factory = self.start("--command", command, "--result", "%source_dir/out.pdf")
        source = self.document().rename(self.folder / "a $(touch x) 'note'.txt")
        job = self.submit(source, pages="2-4", remote=False, applications=[worker])
        self.assertEqual(self.wait_done(job)["outcome"], "SUCCESS", "".join(factory.log))
        percent, *words, _ = json.loads(seen.read_text())
        got = dict(word.split("=", 1) for word in words)
        self.assertEqual((percent, list(got)), ("100%", list(PLACEHOLDERS)))
        file = got["source_base"] + "." + got["source_ext"]
        self.assertEqual((got["source_file"], got["source_path"]), (file, f"{got['source_dir']}/{file}"))
        self.assertNotRegex(file, r"[$']")
        (took,) = factory.wait_for("took")
        self.assertEqual(str(UUID(got["jobid"])), took["job"])
        rest = {name: got[name] for name in ("source_ext", "format", *worker, "page_start", "page_end")}
        expected = {"source_ext": "txt", "format": "pdf", **worker, "page_start": "2", "page_end": "4"}
        self.assertEqual(rest, expected)

    def test_a_program_that_fails_says_why(self) -> None:
        factory = self.start("--command", self.program("import sys; sys.exit('no licence')") + " %source_path")
        status = self.wait_done(self.submit(self.document()))
        self.assertEqual(status["outcome"], "FAILED")
        expected = "My factory: nothing was made of the document; the program ended with status 1: no licence"
        self.assertIn(expected, self.texts(status))
        factory.wait_for("released", 3)

    def test_a_program_that_hangs_is_ended_with_its_children(self) -> None:
        pids = self.folder / "pids"
        code = (
            "import subprocess, sys, os, pathlib, signal\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
            f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} {{child.pid}} ')\n"
            "signal.pause()\n"
        )
        self.start("--command", self.program(code), "--timeout", "1")
        status = self.wait_done(self.submit(self.document()))
        self.assertIn("the program took longer than it may", self.texts(status))
        numbers = [int(number) for number in pids.read_text().split()]
        self.assertEqual(len(numbers), 6)
        for number in numbers:
            self.assertFalse(_lives(number), number)

    def test_wrong_results_are_not_sent(self) -> None:
        self.start("--command", "cp %source_path %source_dir/%source_base.pdf")
        status = self.wait_done(self.submit(self.document()))
        self.assertEqual(status["outcome"], "FAILED")
        self.assertIn("the result is not pdf", self.texts(status))

    def test_commands_that_cannot_work(self) -> None:
        for command, words in (
            ("cp %nope x", "%nope is not one of"),
            ("/no/such/program", "there is no program '/no/such/program'"),
            ("cp 'x", "cannot be read"),
        ):
            factory = self.start("--command", command)
            self.assertEqual(factory.join(), 64)
            self.assertIn(words, "".join(factory.log))


class LossTests(FactoryCase):
    """What gets lost on the way."""

    def test_answers_to_finish_are_lost(self) -> None:
        self.forwarder.lose_answers("jobs.finish", 3)
        factory = self.start_copying()
        job = self.submit(self.document())
        status = self.wait_done(job)
        factory.wait_for("finished")
        self.assertEqual(self.forwarder.lost, 3)
        self.assertEqual((status["outcome"], len(status["artifacts"])), ("SUCCESS", 1))
        status = self.call("pfserver.status", job, 0)
        self.assertEqual(self.texts(status).count("Job completed successfully"), 1)
        self.assertEqual(factory.of("dropped"), [])

    def test_a_result_outlives_the_factory(self) -> None:
        gate = self.folder / "gate"
        os.mkfifo(gate)
        factory = self.start(
            "--command", f"sh -c 'cat {gate} > /dev/null; cp {self.pdf} \"$1\"' sh %source_dir/%source_base.pdf"
        )
        job = self.submit(self.document())
        factory.wait_for("took")
        self.forwarder.cut()
        gate.write_text("open\n")  # blocks until the program reads
        factory.wait_for("away", 2)
        self.wait_for_result()
        factory.kill()
        self.forwarder.target = self.server.addresses["http"]
        again = self.start_copying()
        again.wait_for("finished")
        status = self.wait_done(job)
        self.assertEqual(status["outcome"], "SUCCESS")
        self.assertEqual(self.texts(status).count("Taken by My factory"), 1)

    def wait_for_result(self) -> None:
        import time

        from tests.support.process import PATIENCE

        deadline = time.monotonic() + PATIENCE
        while not list((self.folder / "factory" / "jobs").glob("*/job-*/result.pdf")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_a_factory_that_was_killed_does_its_job_again(self) -> None:
        alive, pid = self.folder / "alive", self.folder / "pid"
        os.mkfifo(pid)
        factory = self.start("--command", f"sh -c 'exec 9> {alive}; flock 9; echo $$ > {pid}; sleep 1000'")
        job = self.submit(self.document())
        self.assertTrue(_lives(int(pid.read_text())))
        factory.kill()
        with alive.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # returns when the program and its child are gone, who hold it
        again = self.start_copying()
        again.wait_for("finished")
        self.assertEqual(self.texts(self.wait_done(job)).count("Taken by My factory"), 1)
        self.assertEqual(again.terminate(), 0)
        self.assertEqual(self.kept(), [])


class LeaseTests(FactoryCase):
    """Locks that run out."""

    config = "[frontends.http]\nlease_seconds = 1\n"

    def test_answers_to_poll_are_lost(self) -> None:
        self.forwarder.lose_answers("jobs.poll", 1)
        job = self.submit(self.document())
        factory = self.start_copying()
        status = self.wait_done(job)
        self.assertEqual((status["outcome"], self.forwarder.lost), ("SUCCESS", 1))
        self.assertEqual(len(factory.wait_for("finished")), 1)


class LifeTests(FactoryCase):
    """Beginning and end."""

    def test_sigterm_lets_a_running_job_end(self) -> None:
        gate = self.folder / "gate"
        os.mkfifo(gate)
        factory = self.start(
            "--command", f"sh -c 'cat {gate} > /dev/null; cp {self.pdf} \"$1\"' sh %source_dir/%source_base.pdf"
        )
        job = self.submit(self.document())
        factory.wait_for("took")
        factory.process.terminate()
        factory.wait_for("stopping")
        gate.write_text("open\n")
        self.assertEqual(factory.join(), 0)
        self.assertEqual(self.wait_done(job)["outcome"], "SUCCESS")

    def test_sigterm_gives_back_what_takes_too_long(self) -> None:
        factory = self.start("--command", "sleep 1000", "--grace", "0.2")
        job = self.submit(self.document())
        factory.wait_for("took")
        self.assertEqual(factory.terminate(), 0)
        status = self.call("pfserver.status", job, 0)
        self.assertEqual(status["state"], "queued")
        self.assertIn("the factory stops", self.texts(status))
        self.assertEqual(self.kept(), [])

    def test_two_factories_share_the_work(self) -> None:
        self.register("Other factory")
        jobs = [self.submit(self.document()) for _ in range(200)]
        one = self.start_copying("--jobs", "3", state="one")
        other = self.start_copying("--jobs", "3", name="Other factory", state="other")
        for job in jobs:
            status = self.wait_done(job)
            self.assertEqual(status["outcome"], "SUCCESS")
            self.assertEqual(self.texts(status).count("Taken by"), 1, status)
        self.assertEqual((one.terminate(), other.terminate()), (0, 0))
        done = [event["job"] for factory in (one, other) for event in factory.of("finished")]
        self.assertEqual((len(done), len(set(done))), (200, 200))
        self.assertTrue(one.of("finished") and other.of("finished"))

    def test_a_factory_that_is_not_registered(self) -> None:
        factory = self.start_copying(name="Nobody")
        self.assertEqual(factory.join(), 65)
        self.assertIn("pfserver: there is no factory 'Nobody'", "".join(factory.log))

    def test_two_factories_on_one_folder(self) -> None:
        factory = self.start_copying()
        factory.wait_for("started")
        second = self.start_copying()
        self.assertEqual(second.join(), 65)
        self.assertIn("another server works on the state folder", "".join(second.log))

    def test_it_waits_for_a_server_that_is_not_there_yet(self) -> None:
        self.forwarder.cut()
        factory = self.start_copying()
        factory.wait_for("away", 2)
        self.forwarder.target = self.server.addresses["http"]
        job = self.submit(self.document())
        self.assertEqual(self.wait_done(job)["outcome"], "SUCCESS")
        factory.wait_for("back")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _soffice_in(folder: Path) -> list[int]:
    """LibreOffices whose profile lies in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and _lives(int(path.parent.name)):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid in found if b"soffice" in Path(f"/proc/{pid}/cmdline").read_bytes()]
