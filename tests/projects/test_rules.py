"""Rules: their values, their failures with exact places, their limits, and what they cannot do."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from babel.numbers import format_currency, format_decimal
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import JobFailed
from pfserver.numbers import Number
from pfserver.projects.project import Rules
from pfserver.projects.rules import RuleFailure, RuleSet, to_json

JOB = {"name": "Job 1", "variables": {"Region": "north"}}


class RuleCase(SynchronousTestCase):
    def rules(self, script: str, *names: str, **limits: Any) -> RuleSet:
        path = Path(self.mktemp())
        path.write_text(script, encoding="utf-8")
        return RuleSet(Rules(script=path, variables=names or ("F",), **limits))

    def value(self, script: str, record: dict[str, Any] | None = None, **limits: Any) -> Any:
        values, failures = self.rules(script, **limits).evaluate(record or {}, JOB)
        self.assertEqual(failures, [])
        return values["F"]

    def failure(self, script: str, record: dict[str, Any] | None = None, **limits: Any) -> RuleFailure:
        rules = self.rules(script, **limits)
        for _ in range(2):
            # A second record fares like the first: a failure leaves nothing behind.
            values, failures = rules.evaluate(record or {}, JOB)
            self.assertEqual(values, {})
            [failure] = failures
        return failure

    def broken(self, script: str, *names: str) -> str:
        raised = self.assertRaises(JobFailed, self.rules, script, *names)
        self.assertNotIn(str(Path.cwd()), raised.text)
        return f"{raised.number}: {raised.text}"


class ValueTests(RuleCase):
    def test_records_and_jobs_are_plain_objects(self) -> None:
        record = {"n": 3, "text": "a\0é漢", "list": [1, {"x": None}], "when": date(2027, 3, 8), "cost": Decimal("1.5")}
        plainly = "Object.getPrototypeOf(record) === Object.prototype"
        script = f"export function F(record, job) {{ return [record, {plainly}, job] }}"
        got, plain, job = self.value(script, record)
        self.assertEqual(got, {**record, "when": "2027-03-08", "cost": 1.5})
        self.assertTrue(plain)
        self.assertEqual(job, JOB)

    def test_rules_of_any_form(self) -> None:
        script = """
            export const A = () => 1;
            const B = function () { return "two" };
            export default function C(record) { return [record.x, true] }
            let count = 0;
            function D() { return { count: ++count } }
        """
        rules = self.rules(script, "A", "B", "C", "D")
        values, failures = rules.evaluate({"x": "y"}, JOB)
        self.assertEqual((values, failures), ({"A": 1, "B": "two", "C": ["y", True], "D": {"count": 1}}, []))

    def test_a_record_of_one_rule_is_not_that_of_another(self) -> None:
        rules = self.rules("const A = (r) => { r.x = 2; return 1 }; const B = (r) => r.x", "A", "B")
        for _ in range(2):
            self.assertEqual(rules.evaluate({"x": 1}, JOB)[0], {"A": 1, "B": 2})

    @settings(max_examples=50, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=10,
        )
    )
    def test_any_value_goes_in_and_comes_back(self, value: Any) -> None:
        record = {"x": value}
        try:
            to_json(record)
        except ValueError:
            self.assertRaises(ValueError, self.identity.evaluate, record, JOB)
            return
        values, failures = self.identity.evaluate(record, JOB)
        self.assertEqual((values, failures), ({"F": [value]}, []))

    def setUp(self) -> None:
        self.identity = self.rules("const F = (record) => [record.x]")

    def test_what_json_cannot_hold_is_refused(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        for value in (float("nan"), float("inf"), "\ud800", Decimal("NaN"), deep):
            self.assertRaises(ValueError, to_json, {"x": value})
        self.assertEqual(to_json([datetime(2027, 1, 2, 3, 4), b"x"]), '["2027-01-02T03:04:00", null]')


class FailureTests(RuleCase):
    def test_the_vendors_example(self) -> None:
        script = "\n" * 46 + "const FormatPriceJS =\n   (record) => null;\n"
        rules = self.rules(script, "FormatPriceJS")
        [failure] = rules.evaluate({}, JOB)[1]
        self.assertEqual(
            failure.text, "Evaluation failed for variable: FormatPriceJS\nScript result was null, line 48, column 4"
        )

    def assertPlace(self, script: str, reason: str, at: str, **limits: Any) -> None:
        """The failure's place is where ``at`` stands in the script, counted in characters from 1."""
        failure = self.failure(script, **limits)
        before = script[: script.index(at)]
        place = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        self.assertEqual((failure.reason, failure.line, failure.column), (reason, *place), script)

    def test_useless_results_are_told_with_the_place_of_the_function(self) -> None:
        for result, kind in {
            "null": "null",
            "undefined": "undefined",
            "": "undefined",
            "NaN": "NaN",
            "1 / 0": "Infinity",
            "() => 1": "function",
            "Symbol()": "symbol",
            "12n": "bigint",
        }.items():
            reason = f"Script result was {kind}"
            self.assertPlace(f"\n  export function F() {{ return {result} }}", reason, "function")
            self.assertPlace(f"/*é*/ const F = () => {{ return {result} }}", reason, "()")
        for form, at in {
            "function F() { return null }": "function",
            "/* é漢 */ function F() { return null }": "function",
            "const F =\n\tfunction () { return null }": "function",
            "const F = r => null": "r =>",
            "const o = {F() { return null }}, F = o.F": "F()",
        }.items():
            self.assertPlace(form, "Script result was null", at)
        promise = "Script result was a promise: rules are not async"
        self.assertPlace("const F = async () => 1", promise, "async")

    def test_what_throws_is_told_with_the_place_of_the_throw(self) -> None:
        for script, reason, at in (
            ("const F = () => {\n  throw new TypeError('é')\n}", "TypeError: é", "TypeError"),
            ("/* é */ const F = (r) => { throw new Error('x') }", "Error: x", "Error"),
            ("const F = (r) => r.a.b", "TypeError: cannot read property 'b' of undefined", "r.a.b"),
            ("const g = () => { throw new RangeError('in') };\nconst F = () => g()", "RangeError: in", "RangeError"),
            # The helpers are ours: the place is where the script called one.
            ("const F = (r) => {\n  return formatNumber(r.x);\n}", "TypeError: undefined is not a number", "r.x)"),
            (
                "const F = () => formatDate('tomorrow')",
                'TypeError: "tomorrow" is not a date like 2026-01-31',
                "formatDate",
            ),
            # A thing that is no error does not know where it was thrown.
            ("\nfunction F() { throw 'x' }", "Script threw x", "function"),
            ("\nfunction F() { throw null }", "Script threw null", "function"),
            (
                "\nfunction F() { throw {get stack() { throw 1 }, toString: 0} }",
                "Script threw an object that has no text",
                "function",
            ),
            ("\nfunction F() { const a = {}; a.a = a; return a }", "TypeError: circular reference", "function"),
            ("\nfunction F() { return [12n] }", "TypeError: BigInt are forbidden in JSON.stringify", "function"),
        ):
            self.assertPlace(script, reason, at)

    def test_all_failures_of_a_record_are_told(self) -> None:
        rules = self.rules("const A = () => null; const B = () => { throw new Error('b') }; const C = () => 1", *"ABC")
        values, failures = rules.evaluate({}, JOB)
        self.assertEqual(values, {"C": 1})
        self.assertEqual(
            [(one.variable, one.reason) for one in failures], [("A", "Script result was null"), ("B", "Error: b")]
        )

    def test_a_reason_can_be_written(self) -> None:
        for thrown in ("new Error('a\\ud800b')", "'a\\ud800b'"):
            self.assertTrue(self.failure(f"const F = () => {{ throw {thrown} }}").reason.endswith("a?b"))

    def test_a_long_reason_is_cut(self) -> None:
        self.assertEqual(len(self.failure("const F = () => { throw new Error('x'.repeat(1e6)) }").reason), 1000)


class LimitTests(RuleCase):
    def test_loops_are_stopped(self) -> None:
        for body in (
            "for (;;);",
            "try { for (;;); } catch { return 1 } finally { return 2 }",
            "return /(a+)+$/.test('a'.repeat(40) + '!')",
            "return Array.prototype.indexOf.call({length: 2 ** 53 - 1}, 1)",
            "const f = () => f(...[]) || f(); try { f() } catch { for (;;); }",
        ):
            failure = self.failure(f"function F() {{ {body} }}", time_limit=0.1)
            self.assertEqual(failure.reason, "Script took longer than 0.1 seconds", body)

    def test_a_loop_does_not_hide_the_failures_before_it(self) -> None:
        rules = self.rules("const A = () => null; const F = () => { for (;;); }", "A", "F", time_limit=0.1)
        self.assertEqual([one.variable for one in rules.evaluate({}, JOB)[1]], ["A", "F"])

    def test_memory_is_limited(self) -> None:
        for body in (
            "const kept = []; for (;;) kept.push('x'.repeat(1e6) + kept.length)",
            "return new ArrayBuffer(1e9).byteLength",
            "let s = 'x'; for (;;) s += s",
            "return Array(1e9).fill(1)",
        ):
            failure = self.failure(f"function F() {{ {body} }}", memory_limit=16, time_limit=5.0)
            self.assertRegex(failure.reason, "memory|longer|too long|length", body)

    def test_recursion_is_an_error_of_the_script(self) -> None:
        self.assertIn("call stack", self.failure("const F = () => F()").reason)

    def test_a_big_result_is_not_a_problem_a_huge_one_is(self) -> None:
        self.assertEqual(len(self.value("const F = () => 'x'.repeat(1e6)")), 1_000_000)
        self.assertIn("memory", self.failure("const F = () => 'x'.repeat(3e7) + 'é'", memory_limit=32).reason)


class SandboxTests(RuleCase):
    def test_there_is_nothing_to_reach(self) -> None:
        names = (
            "std",
            "os",
            "fetch",
            "require",
            "process",
            "print",
            "console",
            "setTimeout",
            "XMLHttpRequest",
            "bjson",
        )
        script = f"const F = () => [{', '.join(f'typeof {name}' for name in names)}]"
        self.assertEqual(set(self.value(script)), {"undefined"})
        for module in ("os", "std", "fs", "./rules.js", "/etc/passwd", "https://a.example/x.js"):
            self.assertIn("could not load module", self.broken(f"import * as x from '{module}'; const F = () => 1"))
        self.assertIn("a promise", self.failure("const F = () => import('/etc/passwd')").reason)

    def test_a_script_that_changes_javascript_harms_itself_only(self) -> None:
        for change in (
            "JSON.stringify = () => 'x'",
            "JSON.parse = () => 1",
            "Array.prototype.push = () => 0",
            "Array.prototype[Symbol.iterator] = null",
            "globalThis.Promise = null",
        ):
            values, _ = self.rules(f"{change}; const F = () => 1").evaluate({}, JOB)
            self.assertEqual(values, {"F": 1}, change)
        for change in ("Object.prototype.toJSON = () => 'x'", "Array.prototype.toJSON = () => [1, 2, 3]"):
            rules = self.rules(f"const F = () => {{ {change}; return 1 }}")
            raised = self.assertRaises(JobFailed, lambda rules=rules: [rules.evaluate({}, JOB) for _ in range(2)])
            self.assertEqual(raised.number, Number.RULES_BROKEN)

    def test_one_job_does_not_see_what_another_left(self) -> None:
        self.value("globalThis.left = 1; const F = () => left")
        self.assertEqual(self.value("const F = () => typeof left"), "undefined")


class BrokenTests(RuleCase):
    def test_scripts_that_cannot_be_loaded(self) -> None:
        for script, text in {
            "const F = () => {\n  return 1 +;\n}": "line 2, column 13",
            "const F = () => {": "line 1, column 18: the script ends before something in it does",
            "\n\nx.y; const F = () => 1": "line 3, column 1: ReferenceError: x is not defined",
            "function G() {}": "has no function F",
            "const F = 5": "has no function F",
            "throw new Error('no')": "Error: no",
        }.items():
            self.assertRegex(self.broken(script), f"^{int(Number.RULES_BROKEN)}: .*")
            self.assertIn(text, self.broken(script))

    def test_names_and_locales(self) -> None:
        for name in ("a b", "1", "x;y", "pfEvaluate", "é"):
            self.assertIn("is not the name of a rule", self.broken("", name))
        path = Path(self.mktemp())
        path.write_bytes(b"\xff")
        for rules in (
            Rules(script=path, variables=("F",)),
            Rules(script=path.with_name("none"), variables=("F",)),
        ):
            self.assertIn("cannot be read as UTF-8", self.assertRaises(JobFailed, RuleSet, rules).text)
        path.write_text("const F = () => 1")
        raised = self.assertRaises(JobFailed, RuleSet, Rules(script=path, variables=("F",), locales=("xx_YY",)))
        self.assertEqual(
            (raised.number, raised.text), (Number.PROJECT_BROKEN, "[rules] locales: there is no locale 'xx_YY'")
        )

    @settings(max_examples=60, deadline=None)
    @given(st.text(st.sampled_from("F(){}=>;'\"`\\/*\n const return é漢\0"), max_size=40))
    def test_any_text_is_a_script_or_a_named_error(self, script: str) -> None:
        try:
            rules = self.rules(script + "\nvar F", time_limit=0.2)
        except JobFailed as error:
            self.assertEqual(error.number, Number.RULES_BROKEN)
            return
        self.assertEqual(len(rules.evaluate({}, JOB)), 2)


class HelperTests(RuleCase):
    def shown(self, call: str, *locales: str) -> Any:
        return self.value(f"const F = () => {call}", locales=locales or ("en", "de_CH", "de", "fr", "hi", "ja", "sv"))

    def test_numbers(self) -> None:
        for call, text in {
            "formatNumber(1234567.891)": "1,234,567.891",
            # What stands between thousands in Switzerland depends on the age of Babel's data.
            "formatNumber(-1234.5, {decimals: 2, locale: 'de_CH'})": format_decimal(-1234.5, "#,##0.00", "de_CH"),
            "formatNumber(1234.5, {locale: 'fr'})": "1\u202f234,5",
            "formatNumber(12345678, {locale: 'hi'})": "1,23,45,678",
            "formatNumber(1234.5, {locale: 'sv-SE'.slice(0, 2)})": "1\u00a0234,5",
            "formatNumber(1.005, {decimals: 2})": "1.01",
            "formatNumber(-0.004, {decimals: 2})": "0.00",
            "formatNumber(1e21)": "1,000,000,000,000,000,000,000",
            "formatNumber(1e-7)": "0.0000001",
            "formatNumber('12.5', {decimals: 0})": "13",
            "formatNumber(999.995, {decimals: 2, grouping: false})": "1000.00",
        }.items():
            self.assertEqual(self.shown(call), text, call)

    def test_money(self) -> None:
        for call, text in {
            "formatCurrency(1234.5, 'USD')": "$1,234.50",
            "formatCurrency(-1234.5, 'USD')": "-$1,234.50",
            "formatCurrency(1234.5, 'CHF', {locale: 'de_CH'})": format_currency(1234.5, "CHF", locale="de_CH"),
            "formatCurrency(1234.5, 'EUR', {locale: 'de'})": "1.234,50\u00a0€",
            "formatCurrency(1234.5, 'JPY', {locale: 'ja'})": "\uffe51,235",
            "formatCurrency(5, 'XYZ')": "XYZ\u00a05.00",
        }.items():
            self.assertEqual(self.shown(call), text, call)

    def test_dates(self) -> None:
        for call, text in {
            "formatDate('2027-03-08')": "Mar 8, 2027",
            "formatDate('2027-03-08', {style: 'full', locale: 'de'})": "Montag, 8. März 2027",
            "formatDate('2027-03-08T14:05:09', {pattern: \"yy/MM/dd HH:mm:ss 'o''c'\"})": "27/03/08 14:05:09 o'c",
            "formatDate('2024-02-29', {style: 'long', locale: 'fr'})": "29 février 2024",
        }.items():
            self.assertEqual(self.shown(call), text, call)

    def test_what_is_no_number_no_date_no_locale(self) -> None:
        for call in ("formatNumber('twelve')", "formatNumber('')", "formatNumber({})", "formatNumber(NaN)"):
            self.assertIn("is not a number", self.failure(f"const F = () => {call}").reason, call)
        for call in ("formatDate('2026-02-30')", "formatDate('x')", "formatDate(null)"):
            self.assertIn("is not a date", self.failure(f"const F = () => {call}").reason, call)
        self.assertIn("not listed", self.failure("const F = () => formatNumber(1, {locale: 'de'})").reason)

    def test_qr_codes(self) -> None:
        code = self.value("const F = () => qrCode('https://a.example/?é')")
        self.assertTrue(code.startswith("<svg"))
        self.assertIn("QR", self.failure("const F = () => qrCode('x'.repeat(5000))").reason)

    @settings(max_examples=100, deadline=None)
    @given(st.decimals(-(10**9), 10**9, places=4), st.integers(0, 4))
    def test_rounding_is_that_of_decimals(self, number: Decimal, places: int) -> None:
        from decimal import ROUND_HALF_UP

        rounded = abs(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
        expected = f"{rounded:,}" if number >= 0 or not rounded else f"-{rounded:,}"
        values, failures = self.rounding.evaluate({"n": float(number), "p": places}, JOB)
        self.assertEqual((values, failures), ({"F": expected}, []), json.dumps([str(number), places]))

    def setUp(self) -> None:
        self.rounding = self.rules("const F = (r) => formatNumber(r.n, {decimals: r.p})")
