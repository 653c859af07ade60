"""What a factory keeps in files."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory import tasks as tasks_module
from pfserver.factory.tasks import Task, Tasks

TASK = Task(job="J-1", filename="a.odt", doctype="odt", first=2)


class TaskTests(SynchronousTestCase):
    @given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none(), st.booleans())))
    def test_any_struct(self, struct: dict[str, Any]) -> None:
        try:
            task = Task.of(struct)
        except (ValueError, TypeError):
            return
        self.assertEqual(task is None, not struct.get("job"))

    @given(st.text(), st.text())
    def test_any_name_is_safe(self, filename: str, doctype: str) -> None:
        name = Task(job="1", filename=filename, doctype=doctype).safe_name
        self.assertNotIn("/", name)
        self.assertNotIn("\0", name)
        self.assertNotIn(name[0], ".-")
        self.assertTrue(name.isprintable(), name)
        self.assertLess(len(name.encode("utf-8")), 255)

    def test_pages(self) -> None:
        self.assertEqual(Task(job="1", doctype="odt").pages, "")
        self.assertEqual(TASK.pages, "2-")
        self.assertEqual(Task(job="1", doctype="odt", first=2, last=4).pages, "2-4")


#: What is beside the folders of tasks.
KEPT = ["boot", "origin"]

#: What is in the folder of a task that nobody works at yet.
LAID_OUT = ["job.json", "source", "work"]


class TasksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.tasks = Tasks(self.folder, "http://one My factory")

    def take(self, task: Task = TASK, data: bytes = b"document") -> Any:
        incoming = self.tasks.incoming()
        incoming.write(data)
        return self.tasks.add(task, incoming)

    def test_a_life(self) -> None:
        folder = self.take()
        self.assertEqual(folder.source.read_bytes(), b"document")
        self.assertIsNone(folder.result())
        folder.begin()
        (folder.work / "made").write_bytes(b"result")
        folder.keep(folder.work / "made", "pdf")
        (found,) = Tasks(self.folder, "http://one My factory").left_over()
        self.assertEqual(found.task, TASK)
        path, output_format = found.result()  # type: ignore[misc]
        self.assertEqual((path.read_bytes(), output_format), (b"result", "pdf"))
        found.remove()
        found.remove()
        self.assertEqual(self.tasks.left_over(), [])

    def test_the_same_job_again_lies_beside_it(self) -> None:
        first, again = self.take(), self.take()
        self.assertTrue(first.same_as(again))
        self.assertFalse(first.same_as(self.take(data=b"Document")))
        self.assertFalse(first.same_as(self.take(evolve(TASK, last=4))))
        # Whoever ends the first one does not take away what came since.
        first.remove()
        self.assertEqual(again.source.read_bytes(), b"document")
        self.assertEqual(len(self.tasks.left_over()), 3)
        self.assertRaises(OSError, again.same_as, first)

    def test_another_servers_tasks_are_left_alone(self) -> None:
        self.take()
        self.assertEqual(Tasks(self.folder, "http://two My factory").left_over(), [])
        self.assertEqual(len(self.tasks.left_over()), 1)

    def test_results_of_before_the_machine_was_started(self) -> None:
        """A power cut may have left the half of them."""
        (self.take().path / "result.pdf").write_bytes(b"result")
        boot = self.patch(tasks_module, "boot_id", lambda: "another")
        (found,) = Tasks(self.folder, "http://one My factory").left_over()
        self.assertIsNone(found.result())
        (found.path / "result.pdf").write_bytes(b"result")
        (found,) = Tasks(self.folder, "http://one My factory").left_over()
        self.assertIsNotNone(found.result())
        # It may have been cut itself.
        (found.path.with_name("boot")).write_bytes(b"\xff\x00")
        (found,) = Tasks(self.folder, "http://one My factory").left_over()
        self.assertIsNone(found.result())
        # Where the system does not say, it may have been another.
        boot.restore()
        self.patch(tasks_module, "boot_id", str)
        for _ in range(2):
            (found,) = Tasks(self.folder, "http://one My factory").left_over()
            self.assertIsNone(found.result())
            (found.path / "result.pdf").write_bytes(b"result")

    def test_what_a_power_cut_leaves(self) -> None:
        folder = self.take()
        (folder.path / "result.pdf").write_bytes(b"")
        self.assertIsNone(folder.result())
        folder.remove()
        for left in (b"", b"{", b"[]", b'{"job": 1}', b"\xff"):
            (self.take().path / "job.json").write_bytes(left)
            self.assertEqual(self.tasks.left_over(), [])

    def test_what_was_never_complete_is_removed(self) -> None:
        incoming = self.tasks.incoming()
        incoming.write(b"half")
        self.assertEqual(self.tasks.left_over(), [])
        self.assertEqual(self.left(), KEPT)
        incoming.discard()

    def test_folders_that_are_made_before(self) -> None:
        for _ in range(3):
            self.tasks.prepare()
        ready = self.left("incoming-*")
        self.assertEqual(len(ready), 2)
        # One more than there are folders.
        taken = [self.take(data=b"%d" % number) for number in range(3)]
        self.assertEqual([one.source.read_bytes() for one in taken], [b"0", b"1", b"2"])
        self.assertEqual([sorted(path.name for path in one.path.iterdir()) for one in taken], [LAID_OUT] * 3)
        self.assertEqual(self.left("incoming-*"), [])
        self.assertEqual(len(self.tasks.left_over()), 3)

    def test_folders_that_were_made_before_and_are_gone(self) -> None:
        self.tasks.prepare()
        self.assertEqual(self.tasks.left_over(), [])
        self.assertEqual(self.left(), KEPT)
        self.assertEqual(self.take().source.read_bytes(), b"document")

    def test_a_disk_without_room_for_folders_to_come(self) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch = self.patch(Path, "touch", refuse)
        self.tasks.prepare()
        self.assertEqual(self.left(), KEPT)
        incoming = self.tasks.incoming()
        with self.assertRaises(OSError):
            self.tasks.add(TASK, incoming)
        incoming.discard()
        patch.restore()
        self.assertEqual(self.left(), KEPT)
        self.assertEqual(self.take().source.read_bytes(), b"document")

    def test_a_disk_that_fills_up(self) -> None:
        incoming = self.tasks.incoming()
        with file_size_limit(1000):
            incoming.write(bytes(900))
            # 100 of them are taken before the disk says a word.
            incoming.write(bytes(200))
        incoming.write(b"the rest of it")
        with self.assertRaises(OSError):
            self.tasks.add(TASK, incoming)
        self.assertEqual(self.left(), KEPT)

    def test_a_disk_that_takes_a_piece_bit_by_bit(self) -> None:
        class Slow(FileIO):
            def write(self, data: Any, /) -> int:
                return super().write(data[:7])

        self.patch(tasks_module, "FileIO", Slow)
        self.assertEqual(self.take(data=bytes(range(100))).source.read_bytes(), bytes(range(100)))

    def test_a_disk_that_takes_nothing(self) -> None:
        def refuse(*_: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(tasks_module, "FileIO", refuse)
        incoming = self.tasks.incoming()
        incoming.write(b"document")
        with self.assertRaises(OSError):
            self.tasks.add(TASK, incoming)
        incoming.discard()

    def test_a_disk_without_room_for_the_rest(self) -> None:
        incoming = self.tasks.incoming()
        incoming.write(b"document")
        with file_size_limit(10), self.assertRaises(OSError):
            self.tasks.add(TASK, incoming)
        incoming.discard()
        self.assertEqual(self.left(), KEPT)

    def left(self, pattern: str = "*") -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"*/{pattern}"))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk on which no file gets larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
