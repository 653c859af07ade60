"""Does what a page says, as its reader would: in a folder of its own, on ports of its own, with real servers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from pfserver.host.plugins import discover
from tests.docs.pages import Command, Page, WriteFile, pattern
from tests.support.process import BIN, PATIENCE, ROOT

#: Seconds for one command: long enough for a conversion's first LibreOffice on a busy machine.
LONG = 3 * PATIENCE

#: Commands that keep running: the reader has another terminal for them.
_KEEPS_RUNNING = re.compile(r"(?:env \S+ )?(?:\S*/)?(twistd|make run|pfserver factory)\b")

#: The ports that pages name; each is replaced by a free one, the same within a page.
_PORT = re.compile(r"(?<![\d.])(?:80(?:08|09|10)|81\d\d|8443)(?![\d.])")

#: The usual endpoints: a server of the page listens on what stands for them, without being told so by its command line.
_USUAL = {"pageflex": "8008", "omi": "8009", "http": "8010"}

#: Where it runs `make`, everything is installed already; installing is what CI's first step proves.
_MAKE = """\
#!/bin/bash
exec {make} VENV={venv} {made} "$@"
"""


class WrongPage(AssertionError):
    """The page says something that is not so."""


class Running:
    """A command that keeps running, in a session of its own; its output is read as it comes."""

    def __init__(self, command: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.output = ""
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def prints(self, wanted: re.Pattern[str]) -> bool:
        """Wait until it has printed this."""
        with self._changed:
            self._changed.wait_for(lambda: wanted.match(self.output) or self._ended, PATIENCE)
            return wanted.match(self.output) is not None

    def interrupt(self) -> int:
        """Ctrl-C, which a terminal sends to all of its processes; gives the exit code, 0 for an end by that signal."""
        os.killpg(self.process.pid, signal.SIGINT)
        self._join()
        return 0 if self.process.returncode == -signal.SIGINT else self.process.returncode

    def stop(self) -> int:
        """SIGTERM, as a service manager sends it; gives the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
            self._join()
        return self.process.returncode

    def _join(self) -> None:
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._thread.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Reader:
    """Follows one page.

    :param folder: where it works; fresh.
    :param programs: where ``pfserver`` and ``twistd`` are: those of this checkout, an installation's, or None where
        the page installs them itself.
    :param environment: more of it.
    """

    def __init__(
        self,
        page: Page,
        folder: Path,
        *,
        programs: Path | None = BIN,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._page = page
        self._programs = programs
        self._folder = folder.absolute()
        self._ports: dict[str, str] = {}
        self._running: list[tuple[Command, Running]] = []
        self._code = 0
        self._tools = self._folder.parent / f"{self._folder.name}.tools"
        self._folder.mkdir(parents=True)
        self._tools.mkdir()
        self._environment = {**self._make_environment(), **(environment or {})}

    def follow(self) -> None:
        """Do all that the page says. Raises ``WrongPage``."""
        try:
            if self._page.path.parent in (ROOT, ROOT / "examples"):
                self._link_checkout()
            for number, step in enumerate(self._page.steps):
                if isinstance(step, WriteFile):
                    self._write(step)
                else:
                    self._run(step, asked=self._is_asked(number + 1))
            for command, running in self._running:
                self._expect_code(command, running.stop(), running.output)
        finally:
            for _, running in self._running:
                running.stop()

    def _link_checkout(self) -> None:
        """The pages at the top, and that of the examples, are read in a checkout."""
        for entry in ROOT.iterdir():
            if entry.name not in (".venv", ".git", "pfserver-state") and not entry.name.startswith("_trial"):
                (self._folder / entry.name).symlink_to(entry)
        (self._folder / ".venv").symlink_to(sys.prefix)

    def _make_environment(self) -> Mapping[str, str]:
        usual = {name: self._port(port) for name, port in _USUAL.items()}
        config = self._tools / "usual.toml"
        installed = [plugin.name for plugin in discover().frontends]
        lines = [f'{name} = "tcp:{usual[name]}:interface=127.0.0.1"\n' for name in usual if name in installed]
        config.write_text("".join(lines))
        made = " ".join(f"-o {shlex.quote(f'{sys.prefix}/.made/{name}')}" for name in ("venv", "run", "test", "check"))
        self._tool("make", _MAKE.format(make=shutil.which("make"), venv=shlex.quote(sys.prefix), made=made))
        if self._programs is None:
            # Such a page begins with python3: the one that these tests' environment was made with.
            self._tool("python3", f'#!/bin/bash\nexec {shlex.quote(os.path.realpath(sys.executable))} "$@"\n')
        # Neither what this user has set for pfserver, nor what a make tells the makes below it.
        left_out = re.compile(r"PFSERVER_\w*|MAKE\w*|MFLAGS|DISPLAY|PYTHONPATH|VIRTUAL_ENV")
        own = [str(self._programs)] if self._programs is not None else []
        # Of all that this Python's folder holds, a page that installs pfserver itself must not find ours.
        rest = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != BIN]
        return {
            **{name: value for name, value in os.environ.items() if not left_out.fullmatch(name)},
            **({"PYTHONPATH": str(ROOT)} if self._programs == BIN else {}),
            "PATH": os.pathsep.join([str(self._tools), *own, *rest]),
            "HOME": str(self._folder),
            "TMPDIR": str(self._tools),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "100",
            "PFSERVER_CONFIG": str(config),
            "PFSERVER_SERVER": f"127.0.0.1:{usual['pageflex']}",
            "PFSERVER_OMI": f"127.0.0.1:{usual['omi']}",
            "PFSERVER_HTTP": f"http://127.0.0.1:{usual['http']}",
        }

    def _tool(self, name: str, script: str) -> None:
        path = self._tools / name
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def _port(self, named: str) -> str:
        if named not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._ports[named] = str(free.getsockname()[1])
        return self._ports[named]

    def _here(self, text: str) -> str:
        return _PORT.sub(lambda found: self._port(found[0]), text)

    def _write(self, step: WriteFile) -> None:
        path = self._folder / step.name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise WrongPage(f"{self._page.name}, line {step.line}: {step.name} would be written into the checkout")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(step.text), encoding="utf-8")

    def _is_asked(self, number: int) -> bool:
        """Whether the next command shows the exit code, which then need not be 0."""
        following = self._page.steps[number] if number < len(self._page.steps) else None
        return isinstance(following, Command) and following.text == "echo $?"

    def _run(self, command: Command, *, asked: bool) -> None:
        text = self._here(command.text)
        wanted = pattern([self._here(line) for line in command.output])
        if _KEEPS_RUNNING.match(text) and "--help" not in text:
            self._keep_running(command, text, wanted)
            return
        if re.match(r"(cd|export|source|\.) ", text):
            raise WrongPage(f"{self._place(command)}: every command is read in a shell of its own")
        done = subprocess.run(
            ["bash", "-c", f"(exit {self._code})\n{text}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONG,
        )
        self._code = done.returncode
        if not asked:
            self._expect_code(command, done.returncode, done.stdout)
        if command.output and not wanted.fullmatch(done.stdout):
            raise WrongPage(f"{self._place(command)} printed\n{done.stdout}\nwhich does not match what the page shows")

    def _keep_running(self, command: Command, text: str, wanted: re.Pattern[str]) -> None:
        if not command.output:
            raise WrongPage(f"{self._place(command)} keeps running: show by which line one sees that it is ready")
        running = Running(text, self._folder, self._environment)
        self._running.append((command, running))
        if not running.prints(wanted):
            raise WrongPage(f"{self._place(command)} printed\n{running.output}\nand not what the page shows")
        if command.interrupted:
            self._running.pop()
            self._expect_code(command, running.interrupt(), running.output)

    def _expect_code(self, command: Command, code: int, output: str) -> None:
        if code != 0:
            raise WrongPage(f"{self._place(command)} ended with exit code {code} after it had printed\n{output}")

    def _place(self, command: Command) -> str:
        return f"{self._page.name}, line {command.line}: $ {command.text}"
