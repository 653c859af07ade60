"""What is run for a request; the arguments survive, whatever they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.backends.mumps.program import MAX_ARGUMENTS, program_of
from pfserver.errors import BadVariable, NoSuchProject, PFServerError
from pfserver.model import JobRequest


def request(project: str = "^HELLO", job: str = "", *arguments: str, **variables: str) -> JobRequest:
    """A request as the OMI front end makes it."""
    given_variables = {f"_mumps_argument{number}": one for number, one in enumerate(arguments, 1)}
    if arguments:
        given_variables["_mumps_arguments"] = str(len(arguments))
    return JobRequest(project=project, job=job, variables={**given_variables, **variables}, backend="mumps")


class ProgramTests(SynchronousTestCase):
    def test_entries(self) -> None:
        for job in ("", "go", "go+3", "+2", "%1", "12"):
            self.assertEqual(program_of(request(job=job)).entry, f"{job}^HELLO")

    def test_no_list_is_not_an_empty_list(self) -> None:
        self.assertIsNone(program_of(request()).arguments)
        program = program_of(request(_mumps_arguments="0"))
        self.assertEqual(program.arguments, ())
        self.assertIn(b" do ^HELLO()\n", program.driver())

    def test_what_cannot_be_run_is_refused(self) -> None:
        for project in ("HELLO", "^", "^1A", "^A B", "^A,B", "^A\n", "^" + "A" * 32):
            with self.assertRaises(NoSuchProject):
                program_of(request(project))
        for job in ("go()", "a b", "go+", "go+1234567", "+-1", "go^OTHER", "go\n"):
            with self.assertRaises(BadVariable):
                program_of(request(job=job))
        for bad in (
            request("^HELLO", "go+1", "argument"),
            request(_mumps_arguments="x"),
            request(_mumps_arguments=str(MAX_ARGUMENTS + 1)),
            request("^HELLO", "", "x" * (1024 * 1024 + 1)),
        ):
            with self.assertRaises(BadVariable):
                program_of(bad)

    @given(st.text(max_size=12), st.text(max_size=12), st.lists(st.text(max_size=300), max_size=3))
    def test_any_request_is_a_program_of_short_lines_or_a_named_error(
        self, project: str, job: str, arguments: list[str]
    ) -> None:
        try:
            driver = program_of(request("^" + project, job, *arguments)).driver()
        except PFServerError:
            return
        for line in driver.split(b"\n"):
            self.assertLess(len(line), 2000)
            self.assertTrue(line.isascii())
