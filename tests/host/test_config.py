"""The configuration: every key, the command line over the file, and clear words for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from twisted.trial.unittest import TestCase

from pfserver.errors import ConfigurationError
from pfserver.host.config import Configuration, load


class LoadTests(TestCase):
    def write(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.mkdir()
        (path / "pfserver.toml").write_text(text, encoding="utf-8")
        return path / "pfserver.toml"

    def load(self, text: str, **overrides: Any) -> Configuration:
        return load(self.write(text), overrides, ["pageflex", "omi"])

    def test_defaults(self) -> None:
        configuration = load(None, {}, ["pageflex"])
        self.assertEqual(configuration.state, Path("pfserver-state").absolute())
        self.assertEqual(configuration.projects, Path("projects").absolute())
        self.assertEqual(configuration.store_url, f"sqlite:///{configuration.state}/jobs.sqlite")
        self.assertEqual((dict(configuration.queues), configuration.endpoints), ({"default": 8}, {}))

    def test_a_state_folder_whose_name_means_something_in_a_url(self) -> None:
        url = sa.make_url(Configuration(state=Path("/srv/50%25 done? #1")).store_url)
        self.assertEqual((url.database, dict(url.query)), ("/srv/50%25 done? #1/jobs.sqlite", {}))

    def test_the_file_of_the_job_database(self) -> None:
        state = Path("/srv/50%25 done? #1")
        for store, expected in (
            ("", state / "jobs.sqlite"),
            ("sqlite:////srv/jobs 1.sqlite", Path("/srv/jobs 1.sqlite")),
            ("sqlite:///file:/srv/jobs%201.sqlite?cache=private&uri=true", Path("/srv/jobs 1.sqlite")),
            ("sqlite:///file:///srv/jobs.sqlite?uri=true", Path("/srv/jobs.sqlite")),
            ("sqlite:///file::memory:?uri=true", None),
            ("sqlite:///file:jobs?mode=memory&cache=shared&uri=true", None),
            ("sqlite://", None),
            ("sqlite:///:memory:", None),
            ("postgresql:///jobs", None),
        ):
            self.assertEqual(Configuration(state=state, store=store).store_file, expected, store)

    def test_every_key(self) -> None:
        path = self.write(
            """
            state = "st"
            projects = "/srv/projects"
            store = "postgresql+psycopg:///jobs"
            executor = "threads:2"
            machine_name = "press-1"
            shutdown_grace = 5
            log_format = "json"
            pageflex = ["tcp:1", "tcp:2"]
            omi = "off"
            output_roots = ["/srv/out"]
            [queues]
            night = 1
            [retention]
            days = 2
            count = 10
            [backends.merge]
            max_documents = 7
            [frontends.pageflex]
            timeout = 3
            """
        )
        configuration = load(path, {}, ["pageflex", "omi"])
        self.assertEqual(configuration.state, (path.parent / "st").absolute())
        self.assertEqual(configuration.projects, Path("/srv/projects"))
        self.assertEqual(configuration.store_url, "postgresql+psycopg:///jobs")
        self.assertEqual((configuration.executor, configuration.machine_name), ("threads:2", "press-1"))
        self.assertEqual((configuration.shutdown_grace, configuration.log_format), (5, "json"))
        self.assertEqual(configuration.endpoints, {"pageflex": ("tcp:1", "tcp:2"), "omi": ()})
        self.assertEqual(configuration.queues, {"default": 8, "night": 1})
        self.assertEqual((configuration.retention_age, configuration.retention_count), (172800, 10))
        self.assertEqual(configuration.output_roots, (Path("/srv/out"),))
        self.assertEqual(configuration.backends, {"merge": {"max_documents": 7}})
        self.assertEqual(configuration.frontends, {"pageflex": {"timeout": 3}})

    def test_globals(self) -> None:
        self.assertEqual((self.load("").globals_durability, self.load("").globals_interval), ("message", 1.0))
        lazy = self.load('globals_durability = "interval"\nglobals_interval = 0.2')
        self.assertEqual((lazy.globals_durability, lazy.globals_interval), ("interval", 0.2))

    def test_the_command_line_wins(self) -> None:
        configuration = self.load('state = "a"\nomi = "tcp:1"', state="b", omi=["tcp:2"], projects=None)
        self.assertEqual(configuration.state, Path("b").absolute())
        self.assertEqual(configuration.endpoints["omi"], ("tcp:2",))

    def test_what_is_wrong_is_named(self) -> None:
        for text, word in (
            ("sate = 1", "'sate'"),
            ("state = 1", "state"),
            ("state = ", "not valid TOML"),
            ("shutdown_grace = -1", "shutdown_grace"),
            ("shutdown_grace = true", "shutdown_grace"),
            ("node_timeout = 0", "node_timeout"),
            ('log_format = "xml"', "log_format"),
            ('globals_durability = "none"', "globals_durability"),
            ("globals_interval = -1", "globals_interval"),
            ("pageflex = 8008", "pageflex"),
            ('pageflex = ["off", "tcp:1"]', "pageflex"),
            ("queues = 1", "queues"),
            ("[queues]\nnight = -1", "queues.night"),
            ("[retention]\nweeks = 1", "'weeks'"),
            ("[retention]\ncount = 1.5", "retention.count"),
            ('output_roots = ["relative"]', "output_roots"),
            ("[backends]\nmerge = 1", "backends.merge"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.load(text)
            self.assertIn(word, str(caught.exception), text)

    def test_a_missing_file(self) -> None:
        with self.assertRaises(ConfigurationError):
            load(Path("no such file"), {}, [])
