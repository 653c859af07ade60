"""Rules: functions of a project's script, evaluated for each record in QuickJS, with limits and without I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import quickjs
from attrs import frozen

from pfserver.errors import JobFailed
from pfserver.numbers import Number
from pfserver.projects.locales import locale_data
from pfserver.projects.project import Rules

#: The helpers' lines are counted from here, so that they are not taken for the project's.
_HELPERS_BEGIN = 1_000_000
_HELPERS = "\n" * _HELPERS_BEGIN + "".join(
    (Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("rules.js", "qrcode.js")
)

#: Seconds for the script itself, outside of any rule.
LOAD_SECONDS = 5.0

#: Bytes of stack: deep recursion is an error of the script, not a crash of the worker.
STACK = 512 << 10

#: The longest reason that is told: what a script throws may be of any length.
REASON = 1000

_POSITION = re.compile(r"<input>:(\d+)(?::(\d+))?")


@frozen
class RuleFailure:
    """A rule that gave nothing for a record; ``text`` is what the monitor tells (Pageflex: 0005000)."""

    variable: str
    reason: str
    line: int
    column: int

    @property
    def text(self) -> str:
        return f"Evaluation failed for variable: {self.variable}\n{self.reason}, line {self.line}, column {self.column}"


class RuleSet:
    """The rules of a project, loaded; belongs to one thread.

    :raises JobFailed: where the script cannot be loaded, with its line and column.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._job: Mapping[str, Any] | None = None
        self._job_text = ""
        try:
            self._source = rules.script.read_text(encoding="utf-8-sig")
            self._lines = self._source.splitlines() or [""]
            self._locales = json.dumps(locale_data(rules.locales))
        except (OSError, UnicodeDecodeError) as error:
            raise JobFailed(Number.RULES_BROKEN, f"{rules.script.name} cannot be read as UTF-8 text") from error
        except ValueError as error:
            raise JobFailed(Number.PROJECT_BROKEN, f"[rules] locales: {error}") from error
        if "\0" in self._source:
            raise self._broken("the script holds a zero byte")
        self._context = self._load()

    def evaluate(self, record: Mapping[str, Any], job: Mapping[str, Any]) -> tuple[dict[str, Any], list[RuleFailure]]:
        """The values of all rules for a record, and the failures of those that gave none.

        Raises ``ValueError`` for a record that JSON cannot hold.
        """
        if job is not self._job:
            # The same for all records of a chunk, at least.
            self._job, self._job_text = job, to_json(job)
        arguments = to_json(record), self._job_text
        try:
            self._context.set_time_limit(self._rules.time_limit)
            answer = self._context.get("pfEvaluate")(*arguments)
        except quickjs.JSException as error:
            return {}, self._stopped(str(error))
        values, failures = self._answer(answer)
        if any("out of memory" in failure.reason for failure in failures):
            # What is left of a context that ran out of memory is of no use to the next record.
            self._context = self._load()
        return values, failures

    def _answer(self, text: Any) -> tuple[dict[str, Any], list[RuleFailure]]:
        """What ``pfEvaluate`` says. Raises ``JobFailed`` where the script has changed what every script is made of."""
        try:
            values, failures = json.loads(text, parse_constant=_refuse)
            if isinstance(values, dict) and all(isinstance(one, int) for _, _, *place in failures for one in place):
                return values, [
                    RuleFailure(str(name), _reason(reason), *self._place(*place)) for name, reason, *place in failures
                ]
        except (TypeError, ValueError, RecursionError):
            pass
        raise self._changed()

    def _changed(self) -> JobFailed:
        text = "the script has changed JavaScript's own objects, so that no rule can be called"
        return JobFailed(Number.RULES_BROKEN, f"{self._rules.script.name}: {text}")

    def _stopped(self, text: str) -> list[RuleFailure]:
        """A rule was ended by a limit that it could not catch; gives its failure behind those before it."""
        self._context.set_time_limit(LOAD_SECONDS)
        variable = str(self._context.eval("pfJoined([pfCurrent], '')"))
        _, before = self._answer(self._context.eval("pfJoined(['[{},', pfStringify(pfFailures), ']'], '')"))
        line, column = self._place(*(_position(text) or (2, 1)))
        reason = _reason(text.splitlines()[0] if text else "stopped")
        if "interrupted" in reason:
            reason = f"Script took longer than {self._rules.time_limit:g} seconds"
        elif "memory" in reason:
            reason = f"Script needed more than {self._rules.memory_limit} MiB"
        self._context = self._load()
        return [*before, RuleFailure(variable, reason, line, column)]

    def _place(self, line: int, column: int) -> tuple[int, int]:
        """A place in the project's file. QuickJS counts bytes, and on the first line not from one: nothing is there."""
        text = self._lines[line - 2] if 1 < line <= len(self._lines) + 1 else ""
        return max(1, line - 1), len(text.encode()[: column - 1].decode(errors="ignore")) + 1 if text else column

    def _load(self) -> quickjs.Context:
        context = quickjs.Context()
        context.set_memory_limit(self._rules.memory_limit << 20)
        context.set_max_stack_size(STACK)
        context.set_time_limit(LOAD_SECONDS)
        names = json.dumps(list(self._rules.variables))
        default = json.dumps(self._rules.locales[0].replace("-", "_"))
        context.eval(f"const pfLocales = {self._locales}; const pfDefaultLocale = {default};")
        context.eval(f"const pfHelpersBegin = {_HELPERS_BEGIN}; 0")
        context.eval(_HELPERS)
        # The names are looked up inside the module, behind its last line, so that its own lines keep their numbers.
        found = ", ".join(f"{name}: typeof {name} === 'function' ? {name} : null" for name in self._checked_names())
        try:
            promise = context.module(f"\n{self._source}\n;globalThis.pfFound = {{{found}}};")
            context.set("pfModule", promise)
            context.eval("globalThis.pfError = null; pfModule.then(() => 0, (e) => { pfError = e; }); 0")
            while context.execute_pending_job():
                pass
            failed = context.eval(
                "pfError === null ? '' : pfJoined([pfReason(pfError), pfError && pfError.stack], '\\n')"
            )
        except quickjs.JSException as error:
            raise self._broken(str(error)) from error
        if failed:
            raise self._broken(failed)
        try:
            wanted = f"{names}.filter((name) => pfFound[name] === null)"
            missing = json.loads(context.eval(f"pfStringify({wanted})"))
        except (quickjs.JSException, ValueError, TypeError) as error:
            raise self._changed() from error
        if missing:
            raise JobFailed(Number.RULES_BROKEN, f"{self._rules.script.name} has no function {', '.join(missing)}")
        context.eval(f"const pfRules = {names}.map((name) => [name, pfFound[name]]); 0")
        return context

    def _checked_names(self) -> tuple[str, ...]:
        for name in self._rules.variables:
            if not re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", name) or name.startswith("pf"):
                raise JobFailed(Number.PROJECT_BROKEN, f"[rules] variables: {name!r} is not the name of a rule")
        return self._rules.variables

    def _broken(self, text: str) -> JobFailed:
        name = self._rules.script.name
        position = _position(text)
        reason = text.splitlines()[0] if text else "cannot be loaded"
        if position and position[0] > len(self._lines) + 1:
            # The line that is added behind the script: the script ends in the middle of something.
            position = len(self._lines) + 1, len(self._lines[-1].encode()) + 1
            reason = "the script ends before something in it does"
        where = ", line {}, column {}".format(*self._place(*position)) if position else ""
        if "interrupted" in reason:
            reason = f"takes longer than {LOAD_SECONDS:g} seconds to load"
        return JobFailed(Number.RULES_BROKEN, f"{name}{where}: {reason}")


def _reason(thrown: Any) -> str:
    """What a rule said, as text that can be written: JavaScript's may hold half a surrogate pair."""
    return str(thrown)[:REASON].encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any) -> str:
    """JSON of a record: dates in ISO form, decimals as numbers, bytes left away.

    Raises ``ValueError`` for what JSON cannot hold: a number that is none, text that is not Unicode, no end of nesting.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds text that is not Unicode") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise ValueError("holds a number that is none (NaN or infinity)") from error
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    return str(value)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _position(text: str) -> tuple[int, int] | None:
    for match in _POSITION.finditer(text):
        if int(match[1]) < _HELPERS_BEGIN:
            return int(match[1]), int(match[2] or 1)
    return None
