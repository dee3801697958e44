"""Whatever the hops do: one outcome for each recipient, nothing lost, nothing left behind."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error

from relay.deliver.settings import DeliverySettings
from relay.message.envelope import Message
from relay.message.outcome import Deferred, Delivered, Failed
from tests.deliver.way_out import WayOut, large, message, shown
from tests.fakes.next_hop import EVERYTHING, HANG_UP, SILENCE, NextHop

BOTH = ["a@example.net", "b@example.net"]


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("extensions", [EVERYTHING, ("8BITMIME",)])
def test_a_drop_after_any_octet(extensions: tuple[str, ...], lmtp: bool) -> None:
    """Deferred or delivered, in doubt exactly when the whole content had gone out, and the pool is empty after it."""
    for drop_after in range(1, 1000):
        hop = NextHop(extensions, lmtp=lmtp)
        way_out = WayOut(hop)
        way_out.network.drop_after = drop_after
        outcomes = way_out.send(message(), *BOTH)
        written = b"".join(way_out.network.transports[0].written)
        for outcome in outcomes:
            if isinstance(outcome, Deferred):
                assert outcome.in_doubt == written.endswith(b"\r\n.\r\n")
            else:
                assert isinstance(outcome, Delivered) and hop.taken
        if written.endswith(b"QUIT\r\n"):
            break
        way_out.run(20)
        assert way_out.deliverer.pool.count == 0
        assert not way_out.clock.getDelayedCalls()
        if all(isinstance(outcome, Delivered) for outcome in outcomes):
            break
    assert 100 < drop_after < 999


said = st.sampled_from(
    [
        "",
        "",
        "",
        "250 ok",
        "354 go",
        "421 bye",
        "451 4.3.0 later",
        "452 4.5.3 enough",
        "550 5.1.1 no",
        "552 full",
        HANG_UP,
        SILENCE,
        "garbage",
        "250-a\n550 b",
    ]
)
verbs = st.sampled_from(["GREETING", "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "END", "RSET", "QUIT"])
hops = st.builds(
    NextHop,
    extensions=st.sampled_from([EVERYTHING, ("8BITMIME",), ("PIPELINING", "LIMITS RCPTMAX=1 MAILMAX=2"), None]),
    replies=st.dictionaries(verbs, st.lists(said, min_size=1, max_size=4)),
)
hosts = st.one_of(hops, hops, hops, st.none(), st.builds(error.ConnectionRefusedError))


@settings(deadline=None)
@given(
    st.lists(st.one_of(hosts, st.lists(hosts, min_size=1, max_size=2)), min_size=1, max_size=3),
    st.lists(st.tuples(st.booleans(), st.sampled_from([[], BOTH]), st.floats(0, 20)), min_size=1, max_size=8),
    st.integers(1, 3),
    st.sampled_from([0, 1, 5]),
    st.booleans(),
)
def test_every_recipient_gets_one_outcome(
    listed: list[NextHop | list[NextHop]],
    mail: list[tuple[bool, list[str], float]],
    connections: int,
    cut: int,
    stops: bool,
) -> None:
    """At the end no connection, no timer and no open content is left, and nobody's mail is called delivered in vain."""
    limits = DeliverySettings(connections=connections, connections_per_hop=2)
    way_out = WayOut(*listed, cut=cut, settings=limits)
    sendings = []
    for is_large, wanted, wait_s in mail:
        made: Message = large(way_out, b"a: b\r\n\r\n", b"x" * 500 + b"\r\n") if is_large else message()
        sendings.append(way_out.start(made, *wanted))
        way_out.run(wait_s)
    stopped: list[None] = []
    if stops:
        way_out.deliverer.stop().addCallback(stopped.append)
    way_out.run(20_000)
    outcomes = [outcome for sending in sendings for outcome in sending.outcomes]
    assert len(outcomes) == sum(len(wanted or [""]) for _, wanted, _ in mail)
    assert shown(outcomes)
    for outcome in outcomes:
        assert not isinstance(outcome, Failed) or outcome.reply.is_permanent
    assert "local error" not in str(outcomes), way_out.told
    assert way_out.deliverer.pool.count == 0
    assert not way_out.deliverer.pool._lines and not way_out.deliverer.pool._starved
    assert not way_out.clock.getDelayedCalls()
    assert all(content.is_closed for content in way_out.opened)
    assert stopped == [None] * stops


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "451 4.3.0 later", "550 5.7.1 no", HANG_UP, "421 bye"]), max_size=12), st.data())
def test_delivered_means_taken(ends: list[str], data: st.DataObject) -> None:
    """Each message that is called delivered is there once; one that failed is not there."""
    hop = NextHop(replies={"END": [*ends, ""]})
    way_out = WayOut(hop, settings=DeliverySettings(connections_per_hop=2))
    sendings = []
    for number in range(10):
        sendings.append((number, way_out.start(message(b"N: %d\r\n\r\n" % number))))
        if data.draw(st.booleans()):
            way_out.run()
    way_out.run(1000)
    taken = Counter(int(each.content.split(b"N: ")[1].split(b"\r\n")[0]) for each in hop.taken)
    for number, sending in sendings:
        assert taken[number] == isinstance(sending.outcomes[0], Delivered)
