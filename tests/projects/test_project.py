"""The project file: what it may say, and the line of what it may not."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import BadProject, NoSuchProjectJob
from pfserver.projects.folders import ProjectFolder
from pfserver.projects.project import Project, load

FULL = """\
title = "All of it"
fonts = ["type"]

[variables]
company = "A & F"
rate = 1.5

[data]
source = "sub/data.csv"
delimiter = ";"

[rules]
script = "rules.js"
variables = ["A", "B"]
locale = "de_CH"
locales = ["en", "fr"]
time_limit = 0.25
memory_limit = 16

[jobs.first]
template = "t.typ"

[jobs."Job 2"]
template = "t.typ"
output = "png"
ppi = 300
on_error = "stop"

[jobs.run]
template = "t.typ"
split = "job"
pdf_standard = "a-2b"
tags = false
max_documents = 100
bookmark = "name"
"""


class ProjectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        (self.folder / "sub").mkdir(parents=True)
        (self.folder / "type").mkdir()
        for name in ("t.typ", "rules.js", "sub/data.csv"):
            (self.folder / name).write_text("")

    def load(self, text: str | bytes) -> Project:
        file = self.folder / "a.pf"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(ProjectFolder(file, self.folder))

    def wrong(self, text: str | bytes) -> str:
        raised = self.assertRaises(BadProject, self.load, text)
        self.assertNotIn(str(self.folder), str(raised))
        return str(raised)

    def test_all_of_it(self) -> None:
        project = self.load("\ufeff" + FULL)
        self.assertEqual((project.title, project.source), ("All of it", "sub/data.csv"))
        self.assertEqual(project.data["delimiter"], ";")
        self.assertEqual(project.variables, {"company": "A & F", "rate": 1.5})
        self.assertEqual(project.fonts, (self.folder / "type",))
        rules = project.rules
        assert rules is not None
        self.assertEqual((rules.locales, rules.variables), (("de_CH", "en", "fr"), ("A", "B")))
        self.assertEqual((rules.time_limit, rules.memory_limit), (0.25, 16))
        first, second, run = (project.job(name) for name in ("first", "Job 2", "run"))
        self.assertEqual((first.output, first.split, first.max_documents, first.tags), ("pdf", "record", 5000, True))
        self.assertEqual((second.output, second.ppi, second.on_error), ("png", 300, "stop"))
        self.assertEqual((run.pdf_standard, run.tags, run.max_documents, run.bookmark), ("a-2b", False, 100, "name"))
        raised = self.assertRaises(NoSuchProjectJob, project.job, "third")
        self.assertEqual(str(raised), "the project has no job 'third'; its jobs are: 'first', 'Job 2', 'run'")

    def test_what_is_wrong_is_told_with_its_line(self) -> None:
        for change, text in {
            ('title = "All of it"', "title = 5"): "a.pf, line 1, column 1: title is missing or not a text",
            ('"type"]', '"type"'): "a.pf, line 4, column",
            ('fonts = ["type"]', 'fonts = ["../x"]'): "a.pf, line 2, column 1: '../x' lies outside the project",
            ('"sub/data.csv"', '"/etc/passwd"'): "a.pf, line 9, column 1: '/etc/passwd' lies outside the project",
            ('"sub/data.csv"', '"none.csv"'): "a.pf, line 9, column 1: there is no file 'none.csv' in the project",
            ('source = "sub/data.csv"\n', ""): "[data] has no source",
            ('"rules.js"', '"sub"'): "a.pf, line 13, column 1: there is no file 'sub' in the project",
            ('["A", "B"]', '"A"'): "a.pf, line 14, column 1: variables in [rules] is missing or not a list of texts",
            (
                "time_limit = 0.25",
                "time_limit = 0",
            ): "a.pf, line 17, column 1: time_limit in [rules] is not a number from 0.001 to 60",
            (
                "memory_limit = 16",
                "memory_limit = true",
            ): "a.pf, line 18, column 1: memory_limit in [rules] is not a number",
            ('output = "png"', 'output = "doc"'): "output in [jobs.Job 2] is none of: pdf, png, svg",
            ("ppi = 300", "ppi = nan"): "ppi in [jobs.Job 2] is not a number from 10 to 1200",
            ('"stop"', '"go"'): "on_error in [jobs.Job 2] is none of: skip, stop",
            ('split = "job"', 'split = "job"\noutput = "svg"'): "a.pf, line 33, column 1: a pdf_standard is for output",
            ('"a-2b"', '"a-9"'): "pdf_standard in [jobs.run] is none of",
            ("tags = false", "tags = 1"): "tags is neither true nor false",
            ("max_documents = 100", "max_documents = 0"): "is not a number from 1 to 100000",
            ("bookmark", "bookmrak"): "a.pf, line 35, column 1: unknown key 'bookmrak' in [jobs.run]",
            ("[variables]", "[varables]"): "a.pf, line 4, column 2: unknown key 'varables'",
        }.items():
            self.assertIn(change[0], FULL)
            self.assertIn(text, self.wrong(FULL.replace(change[0], change[1], 1)))
        self.assertIn('it has no job: a table [jobs."NAME"] is needed', self.wrong(""))
        self.assertIn("a.pf, line 1, column 1: is not UTF-8 text", self.wrong(b"\xff"))
        self.assertIn("a.pf, line 2, column 6: is not UTF-8", self.wrong("\ufeffa = 1\r\né = '".encode() + b"\xe9'\n"))
        self.assertIn("is larger than", self.wrong("#" * (2 << 20)))
        self.assertIn("jobs is not a table", self.wrong("jobs = 1"))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([*"[]=\"'.#\n{}", "jobs", "data", "x", "1", "t.typ", "true"])).map("".join))
    def test_any_text_is_a_project_or_a_named_error(self, text: str) -> None:
        try:
            self.assertIsInstance(self.load(text), Project)
        except BadProject as error:
            self.assertTrue(str(error).startswith("a.pf"))

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=30))
    def test_any_bytes_are_a_project_or_a_named_error(self, data: bytes) -> None:
        try:
            self.load(data)
        except BadProject as error:
            self.assertTrue(str(error).startswith("a.pf"))
