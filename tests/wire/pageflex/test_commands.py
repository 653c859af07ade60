"""What packets mean."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import BadVariable, MissingVariable, NotSupported, UnknownCommand
from pfserver.wire.pageflex import (
    CancelJob,
    Command,
    GetBuildString,
    GetJobQueueLen,
    GetJobStatus,
    GetTaskLog,
    Packet,
    RestartServer,
    SubmitJob,
    command_of,
    response_encoding,
)


def command(name: str, **variables: str) -> Command:
    return command_of(Packet(command=name, job_variables=variables))


def submit(**variables: str) -> Any:
    return command("SubmitJob", **{"ProjectName": "a.pf", "JobName": "Job 1", **variables})


class CommandTests(SynchronousTestCase):
    def test_all_seven(self) -> None:
        self.assertEqual(submit(), SubmitJob(project="a.pf", job="Job 1"))
        self.assertEqual(command("CancelJob", _sys_TransactionID="T0000042"), CancelJob(42))
        self.assertEqual(command("GetJobStatus", _sys_TransactionID=" T12345678 "), GetJobStatus(12345678))
        self.assertEqual(command("GetTaskLog", _sys_TransactionID="T0000042"), GetTaskLog(42))
        self.assertEqual(command("GetJobQueueLen"), GetJobQueueLen(""))
        self.assertEqual(command("GetJobQueueLen", _sys_QueueName="q"), GetJobQueueLen("q"))
        self.assertEqual(command("GetBuildString"), GetBuildString())
        self.assertEqual(command("RestartServer"), RestartServer())

    def test_submit_with_everything(self) -> None:
        packet = Packet(
            command="SubmitJob",
            job_variables={
                "ProjectName": " a.pf\n",
                "JobName": "J",
                "_sys_ClientJobMonitor": "tRuE",
                "_sys_QueueName": "night",
                "_sys_Priority": "-5",
                "_sys_ResponseEncoding": "UTF-8",
                "_sys_FinalOutputDir": "spring",
                "_sys_DownloadFonts": "TRUE",
                "_sys_JobDataSourceFile": "b.csv",
                "_sys_JobSQLQuery": "SELECT 1",
                "_sys_Nonsense": "x",
                "HTMLFilePath": "",
                "Colour": " blue ",
            },
            document_variables={"City": "Bern"},
        )
        self.assertEqual(
            command_of(packet),
            SubmitJob(
                project="a.pf",
                job="J",
                variables={"_sys_JobDataSourceFile": "b.csv", "_sys_JobSQLQuery": "SELECT 1", "Colour": " blue "},
                document_variables={"City": "Bern"},
                monitor=True,
                queue="night",
                priority=-5,
                final_output_folder="spring",
                unknown_variables=("_sys_Nonsense",),
            ),
        )
        self.assertEqual(response_encoding(packet), "utf-8")

    def test_a_document_needs_no_job(self) -> None:
        self.assertEqual(command("SubmitJob", ProjectName="letters/a.odt"), SubmitJob(project="letters/a.odt", job=""))

    def test_what_is_wrong(self) -> None:
        for error, name, variables in (
            (UnknownCommand, "SumitJob", {}),
            (UnknownCommand, "", {}),
            (MissingVariable, "SubmitJob", {"JobName": "x"}),
            (MissingVariable, "SubmitJob", {"ProjectName": "x.PF"}),
            (MissingVariable, "CancelJob", {}),
            (BadVariable, "CancelJob", {"_sys_TransactionID": "42"}),
            (BadVariable, "CancelJob", {"_sys_TransactionID": "T" + "9" * 19}),
        ):
            with self.assertRaises(error):
                command(name, **variables)
        for error, variables in (
            (BadVariable, {"_sys_ClientJobMonitor": "yes"}),
            (BadVariable, {"_sys_Priority": "high"}),
            (BadVariable, {"_sys_Priority": "9" * 5000}),
            (BadVariable, {"_sys_Priority": "1000001"}),
            (NotSupported, {"HTMLFilePath": "x.html"}),
        ):
            with self.assertRaises(error):
                submit(**variables)

    def test_response_encodings(self) -> None:
        for asked, used in (("", "cp1252"), ("latin-1", "cp1252"), (" utf-8 ", "utf-8"), ("Utf8", "utf-8")):
            packet = Packet(command="x", job_variables={"_sys_ResponseEncoding": asked})
            self.assertEqual(response_encoding(packet), used)
