"""Who gets which job."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pfserver.frontends.http.choice import FairChoice, can_do
from pfserver.model import Job, JobRequest
from pfserver.remote import Factory, Worker


class ChoiceTests(SynchronousTestCase):
    """Who gets which job."""

    factory = Factory(name="f", account="owner", workers=(Worker(application="Writer"),))

    def job(self, number: int, account: str, priority: int = 0, **variables: str) -> Job:
        variables = {"_sys_Application": "Writer", **{f"_sys_{name}": value for name, value in variables.items()}}
        request = JobRequest(project="a.odt", variables=variables, account=account, priority=priority)
        return Job(id=number, request=request)

    def test_fair_between_accounts(self) -> None:
        waiting = [self.job(number, "busy") for number in range(1, 7)] + [self.job(7, "small"), self.job(8, "small")]
        choice = FairChoice()
        order = []
        while waiting:
            job = choice.chooser(self.factory)(waiting)
            assert job is not None
            choice.chosen(job)
            waiting.remove(job)
            order.append(job.id)
        self.assertEqual(order, [1, 7, 2, 8, 3, 4, 5, 6])

    def test_priority_first(self) -> None:
        choice = FairChoice()
        waiting = [self.job(1, "a", priority=5), self.job(2, "a", priority=5), self.job(3, "b")]
        choice.chosen(waiting[0])
        job = choice.chooser(self.factory)(waiting[1:])
        assert job is not None
        self.assertEqual(job.id, 2)

    def test_own_factories_only(self) -> None:
        self.assertTrue(can_do(self.factory, self.job(1, "somebody")))
        self.assertFalse(can_do(self.factory, self.job(1, "somebody", OwnFactories="TRUE")))
        self.assertTrue(can_do(self.factory, self.job(1, "owner", OwnFactories="TRUE")))
        own = Factory(name="f", account="owner", own_only=True, workers=self.factory.workers)
        self.assertFalse(can_do(own, self.job(1, "somebody")))
        self.assertTrue(can_do(own, self.job(1, "owner")))

    def test_odd_jobs(self) -> None:
        self.assertFalse(can_do(self.factory, Job(id=1, request=JobRequest(project="a.pf"))))
        self.assertFalse(can_do(self.factory, self.job(1, "a", Pages="x")))
        # What a factory cannot be told.
        self.assertFalse(can_do(self.factory, self.job(1, "a", PdfStandard="a-2b")))
        self.assertFalse(can_do(self.factory, self.job(1, "a", Secret="0" * 32)))
        self.assertFalse(can_do(self.factory, self.job(1, "a", OutputFormat="png", Resolution="300")))
        self.assertTrue(can_do(self.factory, self.job(1, "a", OutputFormat="pdf", Resolution="300")))
