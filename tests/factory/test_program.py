"""Programs of the user's, for a server that would like to steer them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from pfserver.factory.errors import NotRendered
from pfserver.factory.program import ProgramRenderer
from pfserver.factory.tasks import Task, TaskFolder, Tasks
from tests.factory.support import PDF


class ProgramTests(TestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.out = self.root / "out"
        self.out.mkdir()

    def task(self, **words: Any) -> TaskFolder:
        tasks = Tasks(self.root / "jobs", "x")
        incoming = tasks.incoming()
        incoming.write(b"A note\n")
        return tasks.add(Task(**{"job": "1", "filename": "a.txt", "doctype": "txt", **words}), incoming)

    async def render(self, folder: TaskFolder, command: str, result: str = "%source_dir/made.pdf") -> Path:
        return await ProgramRenderer(reactor, command, result=result, jobs=1, timeout=60).render(folder)

    def fixed(self, path: Path) -> Path:
        path.write_bytes(PDF)
        return path

    async def test_a_job_does_not_lead_to_other_files(self) -> None:
        private = self.fixed(self.root / "private.pdf")
        folder = self.task(job="../private")
        with self.assertRaisesRegex(NotRendered, "nothing was made"):
            await self.render(folder, "true", f"{self.out}/%jobid.%format")
        self.assertTrue(private.exists())

    async def test_links_do_not_lead_to_other_files(self) -> None:
        private = self.fixed(self.root / "private.pdf")
        for result in ("%source_dir/made.pdf", "made.pdf", f"{self.out}/%jobid.pdf", f"{self.out}/made.pdf"):
            target = result.replace("%source_dir/", "")
            (self.out / "made.pdf").unlink(missing_ok=True)
            with self.assertRaisesRegex(NotRendered, "the result lies outside its folder"):
                await self.render(self.task(), f"ln -s {private} {target.replace('%jobid', '1')}", result)
            self.assertTrue(private.exists())

    async def test_what_is_no_file(self) -> None:
        for command in ("ln -s made.pdf made.pdf", "mkdir made.pdf", "true"):
            with self.assertRaisesRegex(NotRendered, "nothing was made of the document"):
                await self.render(self.task(), command)

    async def test_results_elsewhere(self) -> None:
        pdf = self.fixed(self.root / "fixed.pdf")
        (self.root / "link").symlink_to(self.out)
        for result, name in (
            (f"{self.out}/%jobid.%format", "1.pdf"),
            (f"{self.out}/made.pdf", "made.pdf"),
            (f"{self.root}/link/%jobid-%source_base.pdf", "1-a.pdf"),
        ):
            folder = self.task()
            made = await self.render(folder, f"cp {pdf} {self.out / name}", result)
            self.assertEqual((made.read_bytes(), list(self.out.iterdir())), (PDF, []))
            self.assertTrue(made.is_relative_to(folder.work))

    async def test_a_result_on_another_disk(self) -> None:
        def rename(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        pdf, folder = self.fixed(self.root / "fixed.pdf"), self.task()
        self.patch(os, "rename", rename)
        made = await self.render(folder, f"cp {pdf} {self.out}/made.pdf", f"{self.out}/made.pdf")
        self.assertEqual((made.parent, made.read_bytes(), list(self.out.iterdir())), (folder.work, PDF, []))

    async def test_a_result_without_a_folder_lies_where_the_program_runs(self) -> None:
        folder = self.task()
        made = await self.render(folder, f"cp {self.fixed(self.root / 'fixed.pdf')} made.pdf", "made.pdf")
        self.assertEqual(made, folder.work / "made.pdf")

    async def test_nothing_that_a_server_says_is_an_option(self) -> None:
        folder = self.task(job="--help", application="-rf", version="--output=/etc/x")
        with self.assertRaisesRegex(NotRendered, "status 0: help rf output__etc_x$"):
            await self.render(folder, "echo %jobid %application %version")

    async def test_nothing_but_what_is_empty_is_empty(self) -> None:
        with self.assertRaisesRegex(NotRendered, r"status 0: \[_\]\[\]$"):
            await self.render(self.task(job="..", application=""), "echo [%jobid][%application]")

    async def test_long_names(self) -> None:
        pdf = self.fixed(self.root / "fixed.pdf")
        folder = self.task(filename="\u6587" * 90 + ".txt", job="\u6587" * 90)
        made = await self.render(folder, f"cp {pdf} %jobid.pdf", "%source_dir/%jobid.pdf")
        self.assertEqual(made.read_bytes(), PDF)
