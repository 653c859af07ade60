"""Every job of the sample projects, on one real server."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pypdf
from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.blocking import BlockingClient
from pfserver.client.conversation import Submission, outcome_of
from pfserver.model import Outcome
from tests.support.process import ROOT, ServerProcess

PROJECTS = ROOT / "examples" / "projects"

#: A price list of 5,000 pages is for people and for bench/; its first products tell as much.
FEW = {"_sys_JobSQLQuery": "SELECT * FROM products ORDER BY number LIMIT 12"}


class ProjectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = ServerProcess(Path(self.mktemp()), projects=PROJECTS, plugins=False)
        self.addCleanup(self.server.close)
        self.server.wait()
        self.client = BlockingClient(*self.server.pageflex)
        self.done: set[tuple[str, str]] = set()

    def produce(self, project: str, job: str, variables: Mapping[str, str] | None = None) -> tuple[Outcome, Path]:
        """Run a job; gives its outcome and its output."""
        self.done.add((project, job))
        lines = list(self.client.submit_and_watch(Submission(project, job, variables or {})))
        (outcome,) = [found for found in map(outcome_of, lines) if found is not None]
        return outcome, self.server.state / "output" / lines[0].text

    def test_all(self) -> None:
        self._letters()
        self._postcards()
        self._price_list()
        self._failing()
        jobs = {
            (path.relative_to(PROJECTS).as_posix(), job)
            for path in PROJECTS.rglob("*.pf")
            for job in tomllib.loads(path.read_text(encoding="utf-8"))["jobs"]
        }
        self.assertEqual(jobs - self.done, set(), "jobs that no test runs")

    def _letters(self) -> None:
        outcome, folder = self.produce("Sample Project.pf", "Job 1")
        self.assertIs(outcome, Outcome.COMPLETED)
        self.assertEqual(len(list(folder.glob("*.pdf"))), 12)
        text = pypdf.PdfReader(folder / "001.pdf").pages[0].extract_text()
        self.assertIn("Adaeze Okafor", text)
        self.assertIn("£148.50", text)
        outcome, folder = self.produce("Sample Project.pf", "Print run")
        self.assertIs(outcome, Outcome.COMPLETED)
        self.assertEqual(len(pypdf.PdfReader(folder / "001.pdf").pages), 12)

    def _postcards(self) -> None:
        outcome, folder = self.produce("Postcard/Postcard.pf", "Print")
        self.assertIs(outcome, Outcome.COMPLETED)
        pages = pypdf.PdfReader(folder / "001.pdf").pages
        self.assertEqual(len(pages), 12)
        self.assertIn("Bergen", pages[0].extract_text())
        self.assertIn("northbound.example/nb-7qx2", pages[1].extract_text())
        outcome, folder = self.produce("Postcard/Postcard.pf", "Single Cards")
        self.assertEqual((outcome, len(list(folder.glob("*.pdf")))), (Outcome.COMPLETED, 6))

    def _price_list(self) -> None:
        for job, suffix, files in (("Catalogue", "pdf", 1), ("Single Pages", "pdf", 12), ("Web", "svg", 12)):
            outcome, folder = self.produce("Price List/Price List.pf", job, FEW)
            self.assertEqual((outcome, len(list(folder.glob(f"*.{suffix}")))), (Outcome.COMPLETED, files), job)
        _, folder = self.produce("Price List/Price List.pf", "Catalogue", FEW)
        reader = pypdf.PdfReader(folder / "001.pdf")
        self.assertEqual((len(reader.pages), len(reader.outline)), (12, 12))

    def _failing(self) -> None:
        outcome, folder = self.produce("Failing Records/Failing Records.pf", "Skip")
        report: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.assertEqual((outcome, report["documents"], report["failures"]), (Outcome.PARTIAL, 2, 6))
        outcome, folder = self.produce("Failing Records/Failing Records.pf", "Stop")
        self.assertEqual((outcome, folder.exists()), (Outcome.FAILED, False))
