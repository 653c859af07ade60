"""Locks from several clients over real sockets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from pfserver.frontends.omi.mixed import FETCHES
from pfserver.wire.omi import (
    Disconnect,
    Done,
    Get,
    GetReply,
    Lock,
    LockReply,
    Operation,
    Order,
    OrderReply,
    Query,
    QueryReply,
    ReverseOrder,
    Set,
    Unlock,
    UnlockAll,
    UnlockClient,
    bunch,
    parse_reply,
    split_bunch,
    split_response,
)
from tests.frontends.omi.support import Circuit, OMICase, ref

GRANTED, REFUSED = LockReply(1), LockReply(0)


def listed(*path: bytes | str | int) -> Any:
    return ref(*path, name=b"%PFLOCK")


class LockTests(OMICase):
    async def take(self, circuit: Circuit, *subscripts: int, client: bytes = b"1") -> object:
        return await circuit.ask(Lock(ref(*subscripts), client))

    async def test_hierarchical_and_counted(self) -> None:
        one, two = await self.session(), await self.session(1)
        self.assertEqual(await self.take(one, 1), GRANTED)
        self.assertEqual(await self.take(one, 1), GRANTED)
        for subscripts in ((), (1,), (1, 2)):
            self.assertEqual(await self.take(two, *subscripts), REFUSED)
            self.assertEqual(await self.take(one, *subscripts, client=b"2"), REFUSED)
        self.assertEqual(await self.take(two, 2), GRANTED)
        self.assertEqual(await self.take(one), REFUSED)
        await one.ask(Unlock(ref(1), b"1"))
        self.assertEqual(await self.take(two, 1), REFUSED)
        await one.ask(Unlock(ref(1), b"1"))
        self.assertEqual(await self.take(two, 1), GRANTED)
        self.assertEqual(await one.ask(Unlock(ref(1), b"1")), Done())
        self.assertEqual(await self.take(one, 1), REFUSED)

    async def test_environments_are_apart(self) -> None:
        one, two = await self.session(), await self.session()
        self.assertEqual(await one.ask(Lock(ref(1, environment=b"a"), b"1")), GRANTED)
        self.assertEqual(await two.ask(Lock(ref(1, environment=b"b"), b"1")), GRANTED)

    async def test_released_by_client_session_disconnect_and_loss(self) -> None:
        watcher = await self.session()

        async def free(subscript: int) -> bool:
            granted = await self.take(watcher, subscript) == GRANTED
            if granted:
                await watcher.ask(Unlock(ref(subscript), b"1"))
            return granted

        circuit = await self.session()
        await self.take(circuit, 1)
        await self.take(circuit, 2, client=b"2")
        await circuit.ask(UnlockClient(b"1"))
        self.assertEqual([await free(1), await free(2)], [True, False])
        await circuit.ask(UnlockAll())
        self.assertTrue(await free(2))
        await self.take(circuit, 1)
        await circuit.ask(Disconnect())
        self.assertTrue(await free(1))
        circuit = await self.session()
        await self.take(circuit, 1)
        self.assertFalse(await free(1))
        await self.drop(circuit)
        await self.until(lambda: not self.locks.held())
        self.assertTrue(await free(1))

    async def test_a_lock_covers_the_message_it_is_taken_in(self) -> None:
        one, two = await self.session(), await self.session()
        answers = await one.ask_all([Lock(ref(1), b"1"), Set(ref(1), b"v"), Get(ref(1)), Unlock(ref(1), b"1")])
        self.assertEqual([answer for _, answer in answers], [GRANTED, Done(), GetReply(1, b"v"), Done()])
        self.assertEqual(await self.take(two, 1), GRANTED)

    async def test_what_is_no_lock(self) -> None:
        circuit = await self.session()
        self.assertEqual(await circuit.ask(Lock(ref(""), b"1")), 10)
        self.assertEqual(await circuit.ask(Lock(ref(*["a" * 255] * 4), b"1")), 4)
        self.assertEqual(self.locks.held(), [])

    async def test_listed_as_a_live_global(self) -> None:
        one, two = await self.session(), await self.session()
        for _ in range(2):
            await one.ask(Lock(ref("a b", 2, environment=b"e"), b"4711"))
        await two.ask(Lock(ref(), b"12"))
        self.assertEqual([(lock.session, lock.count) for lock in self.locks.held()], [(2, 1), (1, 2)])

        async def get(*path: str | int) -> object:
            return await two.ask(Get(ref(*path, name=b"%PFLOCK")))

        self.assertEqual(await get(1, "reference"), GetReply(1, b"^X"))
        self.assertEqual(await get(2, "reference"), GetReply(1, b'^X("a b",2)'))
        fields = [await get(2, field) for field in ("client", "count", "environment", "session", "agent")]
        self.assertEqual(fields, [GetReply(1, value) for value in (b"4711", b"2", b"e", b"1", b"")])
        self.assertEqual(await two.ask(Order(ref(2, name=b"%PFLOCK"))), OrderReply(b""))
        self.assertEqual(await two.ask(Order(ref(1, name=b"%PFLOCK"))), OrderReply(b"2"))
        first = ref(1, "agent", name=b"%PFLOCK")
        self.assertEqual(await two.ask(Query(ref(name=b"%PFLOCK"))), QueryReply(first))
        self.assertEqual(await two.ask(Set(first, b"x")), 1)

    async def test_locks_after_unlocks_of_one_message_are_held(self) -> None:
        one, two = await self.session(), await self.session()
        for unlock in (UnlockClient(b"1"), UnlockAll(), Unlock(ref(1), b"1")):
            requests = [Lock(ref(1), b"1"), unlock, Lock(ref(1), b"1"), Set(ref(1), b"v")]
            answers = await one.ask_all(requests)
            self.assertEqual([answer for _, answer in answers], [GRANTED, Done(), GRANTED, Done()])
            self.assertEqual([held.count for held in self.locks.held()], [1])
            self.assertEqual(await self.take(two, 1), REFUSED)
            await one.ask(UnlockAll())

    async def test_a_lock_goes_to_another_client_in_one_message(self) -> None:
        one = await self.session()
        answers = await one.ask_all([Lock(ref(1), b"1"), Unlock(ref(1), b"1"), Lock(ref(1), b"2"), Lock(ref(1), b"1")])
        self.assertEqual([answer for _, answer in answers], [GRANTED, Done(), GRANTED, REFUSED])
        self.assertEqual([held.client for held in self.locks.held()], [b"2"])

    async def test_a_session_that_is_over_takes_no_more(self) -> None:
        one = await self.session()
        write, written = self.globals.write, []

        async def lose_and_write(function: Any) -> Any:
            await self.drop(one)
            await self.until(lambda: not self.frontend.factory._open)
            answers = await write(function)
            written.append(answers)
            return answers

        self.patch(self.globals, "write", lambda function: Deferred.fromCoroutine(lose_and_write(function)))
        one.send(bunch([one.packed(part) for part in (UnlockClient(b"1"), Lock(ref(1), b"1"), Set(ref(1), b"v"))]))
        await self.until(lambda: bool(written))
        self.assertEqual(self.locks.held(), [])

    async def test_fetches_of_one_message_look_at_the_table_once(self) -> None:
        one = await self.session()
        await self.take(one, 1)
        environments, looked = self.locks.environments, []
        self.patch(self.locks, "environments", lambda: looked.append(1) or environments())
        self.patch(self.locks, "held", partial(self.few, self.locks.held))
        answers = await one.ask_all([Get(listed(1, "count"))] * (FETCHES - 1))
        self.assertEqual([answer for _, answer in answers], [GetReply(1, b"1")] * (FETCHES - 1))
        self.assertEqual(len(looked), 1)

    def few(self, held: Any, start: int = 0, most: int | None = None, environment: bytes | None = None) -> Any:
        self.assertEqual(most, 1)
        return held(start, most, environment)

    async def test_others_have_their_turn_amid_many_fetches(self) -> None:
        one, two = await self.session(), await self.session()
        await self.take(two, 1)
        waiting = len(self.time.getDelayedCalls())
        one.send(bunch([one.packed(request) for request in [Get(listed(1, "count"))] * (2 * FETCHES - 1)]))
        reply = one.next()
        await self.until(lambda: len(self.time.getDelayedCalls()) > waiting)
        self.assertEqual(await self.take(two, 1), GRANTED)
        self.assertFalse(reply.called)
        self.time.advance(0)
        counts = [parse_reply(Operation.GET, split_response(answer)[1]) for answer in split_bunch(await reply)]
        told = [b"1"] * (FETCHES - 1) + [b"2"] * FETCHES
        self.assertEqual(counts, [GetReply(1, count) for count in told])


class RightsTests(OMICase):
    frontend_options: Mapping[str, Any] = {
        "agents": {
            "all": {"password": "x"},
            "some": {"password": "x", "environments": {"b": [], "*": ["read"]}},
        },
    }

    async def test_only_what_may_be_read_is_listed(self) -> None:
        every = await self.session(agent=b"all", password=b"x")
        some = await self.session(agent=b"some", password=b"x")
        for environment in (b"a", b"b", b"c"):
            for number in (1, 2):
                await every.ask(Lock(ref(number, environment=environment), b"1"))
        for circuit, environments in ((every, b"aabbcc"), (some, b"aacc")):
            walked = []
            for number, environment in enumerate(environments, start=1):
                reply = await circuit.ask(Get(listed(number, "environment")))
                self.assertEqual(reply, GetReply(1, bytes([environment])))
                reply = await circuit.ask(Get(listed(number, "reference")))
                self.assertEqual(reply, GetReply(1, b"^X(1)" if number % 2 else b"^X(2)"))
                walked.append(await circuit.ask(Order(listed(number))))
            last = len(environments)
            self.assertEqual(walked, [*[OrderReply(b"%d" % one) for one in range(2, last + 1)], OrderReply(b"")])
            self.assertEqual(await circuit.ask(ReverseOrder(listed(""))), OrderReply(b"%d" % last))
            self.assertEqual(await circuit.ask(Get(listed(last + 1, "count"))), GetReply(0, b""))
