"""Listening sockets: how many may wait at the door."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from relay.operate.sockets import with_backlog


@pytest.mark.parametrize(
    ("endpoint", "listeners"),
    [
        ("tcp:2525:interface=127.0.0.1", "tcpServers"),
        ("tcp6:2525", "tcpServers"),
        ("haproxy:tcp:2525", "tcpServers"),
        ("unix:/run/relay/smtp", "unixServers"),
    ],
)
def test_a_thousand_may_knock_at_once(endpoint: str, listeners: str) -> None:
    """With Twisted's 50, clients that came together were let in at some fifty a second: their SYNs were dropped."""
    reactor = MemoryReactor()
    serverFromString(reactor, with_backlog(endpoint)).listen(object())  # type: ignore[arg-type]
    assert getattr(reactor, listeners)[0][2] == 1024


@pytest.mark.parametrize("endpoint", ["tcp:2525:backlog=7", "systemd:domain=INET:index=0"])
def test_an_operator_may_say_otherwise(endpoint: str) -> None:
    assert with_backlog(endpoint) == endpoint
