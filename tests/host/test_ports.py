"""Listening ports."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pfserver.host.ports import with_backlog


class BacklogTests(SynchronousTestCase):
    def test_only_where_none_is_given_and_the_endpoint_knows_of_it(self) -> None:
        for endpoint in (
            "tcp:8008",
            "tcp6:8008:interface=x",
            "ssl:1:privateKey=x",
            "unix:/run/x",
            "mtls:1:cert=x",
        ):
            self.assertEqual(with_backlog(endpoint), f"{endpoint}:backlog=1024")
        for endpoint in ("tcp:8008:backlog=5:interface=127.0.0.1", "systemd:domain=INET:index=0", "off"):
            self.assertEqual(with_backlog(endpoint), endpoint)
