"""The parts of the reference that are made from the code, so that they cannot be out of date.

- ``message-numbers``: the table of :mod:`pfserver.numbers`;
- ``server-options``: what ``twistd pfserver --help`` prints;
- ``option-table MODULE:CLASS``: the fields of a table of the configuration, with their docstrings;
- ``plugin-doc MODULE:CLASS``: a plugin's own docstring;
- ``command-help``: what each ``pfserver`` command prints for ``--help``;
- ``interfaces``: all of :mod:`pfserver.interfaces`.
"""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import NOTHING, fields
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from zope.interface import Attribute
from zope.interface.interface import InterfaceClass, Method

BIN = Path(sys.executable).parent


class Generated(SphinxDirective):
    """A directive whose text is made by :meth:`text` in the language of the page it stands in."""

    has_content = False
    final_argument_whitespace = True

    def text(self) -> str:
        """What stands in its place."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """See docutils."""
        lines = StringList(self.text().splitlines(), source=f"made by {type(self).__name__}")
        holder = nodes.section()
        holder.document = self.state.document
        self.state.nested_parse(lines, self.content_offset, holder, match_titles=True)
        return list(holder.children)


class MessageNumbers(Generated):
    """One table of numbers."""

    def text(self) -> str:
        """See ``Generated``."""
        from pfserver.numbers import Number

        rows = ["| number | name | meaning | fixed by the field |", "|---|---|---|---|"]
        for number in Number:
            name = number.name.replace("_", " ").capitalize()
            rows.append(f"| `{number:07d}` | {name} | {_escaped(number.meaning)} | {'yes' if number.fixed else ''} |")
        return "\n".join(rows)


class ServerOptions(Generated):
    """What the server's command prints for ``--help``."""

    def text(self) -> str:
        """See ``Generated``."""
        done = subprocess.run(
            [str(BIN / "twistd"), "pfserver", "--help"], capture_output=True, text=True, check=True, env=_environment()
        )
        return f"```text\n{done.stdout.strip()}\n```"


class CommandHelp(Generated):
    """What every command of ``pfserver`` prints for ``--help``."""

    def text(self) -> str:
        """See ``Generated``."""
        import click

        from pfserver.client.cli import cli

        parts = []
        with click.Context(cli, info_name="pfserver") as top:
            parts.append(f"```text\n{cli.get_help(top)}\n```")
            for name in cli.list_commands(top):
                command = cli.get_command(top, name)
                assert command is not None
                parts += _help(command, top, name, 2)
        return "\n\n".join(parts)


def _help(command: Any, parent: Any, name: str, level: int) -> Iterator[str]:
    import click

    with click.Context(command, info_name=name, parent=parent) as context:
        yield f"{'#' * level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
        if isinstance(command, click.Group):
            for one in command.list_commands(context):
                inner = command.get_command(context, one)
                assert inner is not None
                yield from _help(inner, context, one, level + 1)


class OptionTable(Generated):
    """The fields of an attrs class that holds a table of the configuration."""

    required_arguments = 1

    def text(self) -> str:
        """See ``Generated``."""
        module, _, name = self.arguments[0].partition(":")
        cls = getattr(import_module(module), name)
        docs = _field_docs(cls)
        rows = ["| key | default | meaning |", "|---|---|---|"]
        for attribute in fields(cls):
            if not attribute.init or attribute.name.startswith("_"):
                continue
            rows.append(f"| `{attribute.name}` | {_default(attribute)} | {_escaped(docs.get(attribute.name, ''))} |")
        return "\n".join(rows)


def _default(attribute: Any) -> str:
    value = attribute.default
    if value is NOTHING:
        return "must be given"
    if hasattr(value, "factory"):
        if value.takes_self or value.factory.__module__ == "socket":
            return "of the machine"
        value = value.factory()
    if isinstance(value, Path):
        value = str(value)
    if value is None or value in ("", {}, (), []):
        return "none"
    return f"`{value!r}`".replace("'", '"')


def _field_docs(cls: type) -> dict[str, str]:
    """The docstring below each field, as the source has it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    result = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                result[before.target.id] = " ".join(value.value.split())
    return result


class PluginDoc(Generated):
    """The docstring of a plugin, which lists its keys."""

    required_arguments = 1

    def text(self) -> str:
        """See ``Generated``."""
        module, _, name = self.arguments[0].partition(":")
        lines = inspect.cleandoc(getattr(import_module(module), name).__doc__ or "").splitlines()
        # Keys are written one a line: an item each.
        return "\n".join(f"- {line}" if line.startswith("``") else line for line in lines).replace("``", "`")


class Interfaces(Generated):
    """All interfaces of :mod:`pfserver.interfaces`, in their order."""

    def text(self) -> str:
        """See ``Generated``; this one is for pages of reStructuredText, as docstrings are."""
        from pfserver.interfaces import backends, engine, frontends, globals, store

        return "\n".join(
            line
            for module in (engine, store, globals, backends, frontends)
            for one in vars(module).values()
            if isinstance(one, InterfaceClass) and one.__module__ == module.__name__
            for line in _interface(one, _signatures(inspect.getsource(module)))
        )


def _signatures(source: str) -> dict[tuple[str, str], str]:
    """By interface and method, its signature with types; zope.interface itself forgets arguments given by name only."""
    return {
        (cls.name, method.name): f"({ast.unparse(method.args)})"
        + (f" -> {ast.unparse(method.returns)}" if method.returns is not None else "")
        for cls in ast.parse(source).body
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef)
    }


def _interface(interface: InterfaceClass, signatures: dict[tuple[str, str], str]) -> Iterator[str]:
    name = interface.__name__
    yield from (name, "-" * len(name), "", f".. py:class:: pfserver.interfaces.{name}", "")
    yield from _indented(interface.__doc__, 1)
    for member, what in interface.namesAndDescriptions():
        if isinstance(what, Method):
            yield from (f"   .. py:method:: {member}{signatures[interface.__name__, member]}", "")
        elif isinstance(what, Attribute):
            yield from (f"   .. py:attribute:: {member}", "")
        yield from _indented(what.getDoc(), 2)


def _indented(doc: str, depth: int) -> Iterator[str]:
    for line in inspect.cleandoc(doc).splitlines():
        yield "   " * depth + line if line else ""
    yield ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("``", "`")


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "100"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("message-numbers", MessageNumbers)
    app.add_directive("server-options", ServerOptions)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("option-table", OptionTable)
    app.add_directive("plugin-doc", PluginDoc)
    app.add_directive("interfaces", Interfaces)
    return {"parallel_read_safe": True}
