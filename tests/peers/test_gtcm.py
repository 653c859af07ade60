"""The same conversations with fis-gtm's OMI server and with ours: all answers are byte-equal, but for DIFFERENCES."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.omi import (
    Connect,
    Define,
    Disconnect,
    Get,
    Kill,
    Lock,
    Next,
    Order,
    Query,
    Range,
    Reference,
    Request,
    RequestHeader,
    ReverseOrder,
    Set,
    Status,
    Unlock,
    UnlockAll,
    UnlockClient,
    message,
)
from tests.peers.differences import reason
from tests.peers.gtcm import Circuit, GtcmServer
from tests.support.process import ServerProcess

# None of 17 or 18 digits, which gtcm_server takes for strings: see test_numbers_of_many_digits.
numbers = st.sampled_from(
    [
        *(b"0", b"1", b"-1", b"2", b"10", b"100", b".5", b"-.5", b"1.5", b"-12.25", b"1234567890123456"),
        *(b"9" * 16, b"-" + b"9" * 16, b"1" + b"0" * 46, b"." + b"0" * 14 + b"1"),
    ]
)
#: Nearly numbers, and so strings.
strings = st.sampled_from(
    [
        *(b"01", b"1.0", b"-0", b"+1", b"1.", b".", b"-", b"1e3", b"1E3", b"0.5", b"00", b" ", b"a", b"A", b"aa", b"Z"),
        *(b"1234567890123456789", b"1" * 47, b"--1", b"1-", b"\xc3\xab"),
    ]
)
binary = st.binary(min_size=1, max_size=6) | st.sampled_from([b"\0", b"\xff", b"\1\0", b"\xff\xff", b"a\0b", b"x" * 60])
subscripts = numbers | strings | binary
paths = st.lists(subscripts, min_size=1, max_size=3).map(tuple)
starts = st.one_of(paths, paths.map(lambda path: (*path[:-1], b"")))
globals_ = st.sampled_from([b"X", b"Y", b"Xy"])
values = st.binary(max_size=60) | st.sampled_from([b"", b"0", b"1.50", b"v" * 500])
clients = st.sampled_from([b"1", b"4711"])
#: By name, which of a session's clients locks it. gtcm_server lets clients of one session have locks above and below
#: one another, where ours does not: see test_clients_of_one_session.
CLIENTS = {b"X": b"1", b"Y": b"4711", b"Xy": b"1"}
sessions = st.integers(0, 3)

#: What each session agrees on when it connects.
AGREEMENTS = (Connect(major=1), Connect(major=1, extensions=(1,)), Connect(major=1, extensions=(3,)), Connect(major=1))
BUNCHED, WIDE = 1, 2


class Servers:
    """Both servers, and circuits to both that hear the same.

    :param config: of ours.
    """

    def __init__(self, config: str = "") -> None:
        # Not in the folder of the tests: its path is too long for M.
        self.folder = Path(tempfile.mkdtemp(prefix="gtcm"))
        self.theirs = GtcmServer(self.folder / "m")
        self.environment = self.theirs.environment
        self.ours = ServerProcess(self.folder / "pfserver", frontends=("omi",), config=config).wait()

    def close(self) -> None:
        self.theirs.stop()
        self.ours.close()
        shutil.rmtree(self.folder)

    def circuits(self, connect: Connect | None) -> tuple[Circuit, Circuit]:
        """A circuit to each."""
        return Circuit(self.theirs.port, connect), Circuit(self.ours.addresses["omi"][1], connect)


class Conversation(RuleBasedStateMachine):
    """Anything that M clients may say, in any order."""

    servers: ClassVar[Servers]
    seen: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.pairs = [self.servers.circuits(connect) for connect in AGREEMENTS]
        # By session and name of a global, the locks that were granted and may be held.
        self.held: Counter[tuple[int, bytes, tuple[bytes, ...]]] = Counter()

    @initialize()
    def begin_empty(self) -> None:
        for name in (b"X", b"Y", b"Xy"):
            self.say(0, Kill(self.reference(name, ())))

    def teardown(self) -> None:
        for number in range(len(self.pairs)):
            self.end(number)

    def reference(self, name: bytes, path: tuple[bytes, ...]) -> Reference:
        return Reference(self.servers.environment, name, path)

    def say(self, session: int, *requests: Request) -> list[bytes]:
        """The same message to both; what comes back has to be alike."""
        theirs, ours = self.pairs[session]
        parts = [theirs.packed(request) for request in requests]
        [ours.packed(request) for request in requests]
        return self.compare(session, parts)

    def compare(self, session: int, parts: list[bytes]) -> list[bytes]:
        theirs, ours = self.pairs[session]
        try:
            expected = theirs.exchange(parts)
        except ConnectionError:
            alive = self.servers.theirs.is_alive
            raise AssertionError(f"gtcm_server closed the circuit (alive: {alive}) at {parts}") from None
        found = ours.exchange(parts)
        assert len(found) == len(expected)
        for part, one, other in zip(parts, expected, found, strict=True):
            if one != other:
                why = reason(part, one, other)
                assert why is not None, f"{part!r}: gtcm_server {one!r}, pfserver {other!r}"
                self.seen[why] = self.seen.get(why, 0) + 1
        return expected

    def ask_lock(self, session: int, name: bytes, path: tuple[bytes, ...]) -> None:
        [answer] = self.say(session, Lock(self.reference(name, path), CLIENTS[name]))
        self.held[session, name, path] += answer[-1]

    def forget(self, session: int, client: bytes | None = None) -> None:
        """A session, or one of its clients, has no locks any more."""
        for key in list(self.held):
            if key[0] == session and client in (None, CLIENTS[key[1]]):
                del self.held[key]

    def end(self, session: int) -> None:
        """Disconnect, and wait until both have closed: then the locks are free."""
        self.say(session, Disconnect())
        self.forget(session)
        for circuit in self.pairs[session]:
            assert circuit.ends()
            circuit.close()

    # -- what may be said --------

    @rule(session=sessions, name=globals_, path=paths | st.just(()), value=values)
    def set(self, session: int, name: bytes, path: Any, value: bytes) -> None:
        self.say(session, Set(self.reference(name, path), value))

    @rule(session=sessions, name=globals_, path=starts)
    def kill(self, session: int, name: bytes, path: Any) -> None:
        self.say(session, Kill(self.reference(name, path)))

    @rule(session=sessions, name=globals_, path=starts, request=st.sampled_from([Get, Define]))
    def look(self, session: int, name: bytes, path: Any, request: Any) -> None:
        self.say(session, request(self.reference(name, path)))

    @rule(session=sessions, name=globals_, path=starts, request=st.sampled_from([Order, Next, ReverseOrder, Query]))
    def walk(self, session: int, name: bytes, path: Any, request: Any) -> None:
        self.say(session, request(self.reference(name, path)))

    @rule(session=sessions, name=globals_, request=st.sampled_from([Order, ReverseOrder, Query]))
    def walk_from_the_first(self, session: int, name: bytes, request: Any) -> None:
        self.say(session, request(self.reference(name, (b"",))))

    @rule(name=globals_, request=st.sampled_from([Get, Define, Query]))
    def names(self, name: bytes, request: Any) -> None:
        # Not order, next and reverse order over names: gtcm_server V7.0-005 dies of each.
        self.say(0, request(self.reference(name, ())))

    @rule(session=sessions, name=globals_, path=starts | st.just(()))
    def lock(self, session: int, name: bytes, path: Any) -> None:
        self.ask_lock(session, name, path[:2])

    @rule(session=sessions, name=globals_, path=paths | st.just(()), client=clients)
    def unlock(self, session: int, name: bytes, path: Any, client: bytes) -> None:
        path = path[:2]
        own = session, name, path
        if client != CLIENTS[name] or not self.held[own]:
            # Not where another session holds locks: see test_unlock_of_what_another_session_holds.
            if any(count and key[0] != session and key[1] == name for key, count in self.held.items()):
                return
        else:
            self.held[own] -= 1
        self.say(session, Unlock(self.reference(name, path), client))

    @rule(session=sessions, name=globals_, path=st.lists(st.sampled_from([b"1", b"a"]), max_size=2).map(tuple))
    def lock_what_others_may_have(self, session: int, name: bytes, path: Any) -> None:
        self.ask_lock(session, name, path)

    @rule(session=sessions, client=clients)
    def unlock_client(self, session: int, client: bytes) -> None:
        self.say(session, UnlockClient(client))
        self.forget(session, client)

    @rule(session=sessions)
    def unlock_all(self, session: int) -> None:
        self.say(session, UnlockAll())
        self.forget(session)

    @rule(session=sessions)
    def status(self, session: int) -> None:
        self.say(session, Status())

    @rule(session=sessions)
    def come_again(self, session: int) -> None:
        self.end(session)
        self.pairs[session] = self.servers.circuits(AGREEMENTS[session])

    @rule(name=globals_, path=paths, value=values)
    def bunch(self, name: bytes, path: Any, value: bytes) -> None:
        node = self.reference(name, path)
        before, after = Get(node), Get(node)
        self.say(BUNCHED, before, Set(node, value), after, Order(node), Query(node), Kill(node), Define(node))

    @rule(session=st.sampled_from([0, 2, 3]), operation=st.sampled_from([0, 4, 9, 15, 27, 34, 60, 99, 255]))
    def unknown(self, session: int, operation: int) -> None:
        self.compare(session, [RequestHeader(operation, sequence=3, request_id=7).pack()])

    @rule(session=st.sampled_from([0, 3]), path=paths, data=st.data())
    def broken_reference(self, session: int, path: Any, data: st.DataObject) -> None:
        packed = self.reference(b"X", path).pack()
        start = 2 + len(self.servers.environment)
        at = data.draw(st.sampled_from([start, start + 3]))
        broken = packed[:at] + b"\xff" + packed[at + 1 :]
        body = len(broken).to_bytes(2, "little") + broken
        self.compare(session, [RequestHeader(20, sequence=3, request_id=7).pack() + body])


class GtcmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.servers = Servers()
        self.addCleanup(self.servers.close)

    def test_generated_conversations(self) -> None:
        _converse(self.servers, 20)

    def test_errors(self) -> None:
        reference = Reference(self.servers.environment, b"X", (b"1",))
        get = RequestHeader(20, sequence=5, request_id=7).pack()
        packed = reference.pack()

        def both(connect: Connect | None, content: bytes) -> tuple[bytes, bytes]:
            pair = self.servers.circuits(connect)
            theirs, ours = [circuit.talk(message(content)) for circuit in pair]
            for circuit in pair:
                circuit.close()
            return theirs, ours

        session = Connect(major=1)
        for connect, content in (
            (None, RequestHeader(2, sequence=5, request_id=7).pack()),
            (None, get + Get(reference).pack()),
            (None, RequestHeader(99, sequence=5, request_id=7).pack()),
            (None, RequestHeader(1, sequence=5, request_id=7).pack() + Connect(major=3).pack()),
            (None, RequestHeader(1, sequence=5).pack() + Connect(major=1, subscript=Range(256, 300)).pack()),
            (None, RequestHeader(1, sequence=5).pack() + Connect(major=1).pack()[:-3]),
            (session, RequestHeader(1, sequence=5, request_id=7).pack() + Connect(major=1).pack()),
            (session, RequestHeader(2, sequence=5, request_id=7, operation_class=2).pack()),
            (session, RequestHeader(2, sequence=5, request_id=7, operation_class=0).pack()),
            (session, b"\x0a" + RequestHeader(2, sequence=5, request_id=7).pack()[1:]),
            (session, get + b"\0\0"),
            (session, get + b"\2\0\0\0"),
            (session, get + len(packed).to_bytes(2, "little") + packed[:-1]),
            (session, get + Get(Reference(self.servers.environment, b"", ())).pack()),
            (session, get + Get(Reference(self.servers.environment, b"X", (b"", b"1"))).pack()),
            (session, RequestHeader(22, sequence=5).pack() + Order(Reference(b"", b"X", (b"", b"1"))).pack()),
        ):
            theirs, ours = both(connect, content)
            self.assertEqual(ours, theirs, content)

    def test_the_differences(self) -> None:
        """Each of them is shown once, so that the list does not outlive its reasons."""
        from tests.peers.differences import DIFFERENCES

        environment = self.servers.environment
        x = Reference(environment, b"X", (b"1",))
        set_ = RequestHeader(10, sequence=5).pack() + Set(x, b"v").pack()
        shown = set()
        for content in (
            RequestHeader(12, sequence=5).pack() + b"\0" + Get(x).pack() + b"\1\0a\1\0\1\0",
            RequestHeader(20, sequence=5).pack() + Get(Reference(environment, b"X", (b"",))).pack(),
            RequestHeader(20, sequence=5).pack() + Get(Reference(environment, b"X", (b"1" + b"0" * 47,))).pack(),
            set_ + b"more",
            RequestHeader(20, sequence=5).pack() + Get(Reference(environment, b"1X", (b"1",))).pack(),
            RequestHeader(20, sequence=5).pack() + Get(Reference(environment, b"X", (b"a" * 150, b"b" * 150))).pack(),
        ):
            theirs, ours = [circuit.talk(message(content)) for circuit in self.servers.circuits(Connect(major=1))]
            self.assertNotEqual(ours, theirs, content)
            shown.add(reason(content, theirs, ours))
        self.assertEqual(shown, set(DIFFERENCES))

    def test_numbers_of_many_digits(self) -> None:
        """M has numbers of 18 digits, and so has ours; for gtcm_server those of more than 16 are strings."""
        for number in (b"9" * 17, b"9" * 18, b"." + b"0" * 20 + b"1"):
            pair = self.servers.circuits(Connect(major=1))
            first = []
            for circuit in pair:
                for request in (
                    Kill(Reference(self.servers.environment, b"N", ())),
                    *[Set(Reference(self.servers.environment, b"N", (one,)), b"") for one in (number, b"-")],
                ):
                    circuit.exchange([circuit.packed(request)])
                order = circuit.packed(Order(Reference(self.servers.environment, b"N", (b"",))))
                first.append(circuit.exchange([order])[0][13:])
                circuit.close()
            self.assertEqual(first, [b"-", number])
            source = f'first\t;\n\ts ^N("{number.decode()}")="",^N("-")="" w $o(^N("")) k ^N\n'
            self.assertEqual(self.servers.theirs.system.run("first", source).strip(), number.decode())

    def test_clients_of_one_session(self) -> None:
        """An owner of locks is a client of a session; gtcm_server sees that only where both lock the very same name."""
        node = Reference(self.servers.environment, b"X", (b"1",))
        below = Reference(self.servers.environment, b"X", (b"1", b"1"))
        pair = self.servers.circuits(Connect(major=1))
        granted = [
            [circuit.exchange([circuit.packed(request)])[0][-1] for request in requests]
            for circuit in pair
            for requests in [(Lock(node, b"1"), Lock(node, b"4711"), Lock(below, b"4711"))]
        ]
        for circuit in pair:
            circuit.close()
        self.assertEqual(granted, [[1, 0, 1], [1, 0, 0]])

    def test_unlock_of_what_another_session_holds(self) -> None:
        """It is nothing, but gtcm_server grants the session locks below it from then on, though another holds it."""
        node = Reference(self.servers.environment, b"X", ())
        below = Reference(self.servers.environment, b"X", (b"1",))
        granted = []
        for holders, others in zip(
            self.servers.circuits(Connect(major=1)), self.servers.circuits(Connect(major=1)), strict=True
        ):
            answers = [
                circuit.exchange([circuit.packed(request)])[0][12:]
                for circuit, request in (
                    (holders, Lock(node, b"1")),
                    (others, Lock(below, b"1")),
                    (others, Unlock(node, b"1")),
                    (others, Lock(below, b"1")),
                )
            ]
            granted.append(answers)
            holders.close()
            others.close()
        self.assertEqual(granted, [[b"\1", b"\0", b"", b"\1"], [b"\1", b"\0", b"", b"\0"]])


class LazyTests(SynchronousTestCase):
    """Ours commits as lazily as gtcm_server does; the answers are the same."""

    def test_generated_conversations(self) -> None:
        servers = Servers('globals_durability = "interval"\n')
        self.addCleanup(servers.close)
        _converse(servers, 20)


def _converse(both: Servers, examples: int) -> None:
    class Here(Conversation):
        servers = both

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
