"""What becomes of the recipients: by what one host says, and by the hosts in their order."""

from __future__ import annotations

import pytest
from twisted.internet import error

from relay.deliver.settings import DeliverySettings
from relay.message.outcome import Deferred, Delivered, Discarded, Failed
from relay.message.reply import dns_trouble, null_mx, reply
from relay.route.via import Hop
from tests.deliver.way_out import CONTENT, HEAD, WayOut, message, shown
from tests.fakes.next_hop import EVERYTHING, HANG_UP, SILENCE, NextHop

cuts = pytest.mark.parametrize("cut", [0, 1, 5])
ways = pytest.mark.parametrize("extensions", [EVERYTHING, ("8BITMIME",), None], ids=["pipelined", "one by one", "HELO"])


@cuts
@ways
def test_a_message_is_delivered(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions)
    way_out = WayOut(hop, cut=cut)
    outcomes = way_out.send(message())
    assert outcomes == [Delivered(reply(250, "2.0.0", "taken"), "mx0.example [10.0.0.1]", dsn=extensions == EVERYTHING)]
    assert [taken.content for taken in hop.taken] == [HEAD + CONTENT]


@pytest.mark.parametrize("later", [False, True])
def test_the_way_is_asked_for(later: bool) -> None:
    """At once where the router knows it, else when it has found out."""
    hop = NextHop()
    way_out = WayOut(hop, later=later)
    sending = way_out.start(message())
    for _ in range(3):
        way_out.routes.answer()
        way_out.run()
    assert shown(sending.outcomes) == ["Delivered 250 2.0.0"]


def test_lmtp_has_delivered_and_not_relayed() -> None:
    (outcome,) = WayOut(NextHop(lmtp=True)).send(message())
    assert isinstance(outcome, Delivered) and outcome.final


def test_lmtp_over_a_unix_socket() -> None:
    hop = NextHop(lmtp=True)
    way_out = WayOut()
    way_out.routes.known_hops["example.net"] = (Hop("", 0, "lmtp", "/run/lmtp"),)
    way_out.network.hosts["/run/lmtp"] = hop
    (outcome,) = way_out.send(message())
    assert isinstance(outcome, Delivered) and outcome.hop == "/run/lmtp"


@pytest.mark.parametrize(
    "answer",
    [
        Discarded("routes[0]"),
        Failed(null_mx("example.net")),
        Deferred(dns_trouble("example.net", "SERVFAIL"), whole_destination=True),
    ],
)
def test_where_there_is_no_hop_the_router_has_the_word(answer: Discarded | Failed | Deferred) -> None:
    way_out = WayOut()
    way_out.routes.known_hops["example.net"] = answer
    assert way_out.send(message(), "a@example.net", "b@example.net") == [answer, answer]


# -- what a host says ------------------------------------------------------------------------


@cuts
@ways
def test_each_recipient_has_its_own_outcome(extensions: tuple[str, ...] | None, cut: int) -> None:
    hop = NextHop(extensions, recipients={"b@example.net": "550 5.1.1 no", "c@example.net": "450 4.2.1 busy"})
    outcomes = WayOut(hop, cut=cut).send(message(), "a@example.net", "b@example.net", "c@example.net")
    assert shown(outcomes) == ["Delivered 250 2.0.0", "Failed 550 5.1.1", "Deferred 450 4.2.1"]


@pytest.mark.parametrize(
    ("verb", "said", "outcome"),
    [
        ("GREETING", "554 5.7.1 go away", "Deferred 554 5.7.1!"),
        ("GREETING", "521 5.3.2 mx.example takes no mail", "Failed 521 5.3.2"),
        ("GREETING", "421 4.3.2 busy", "Deferred 421 4.3.2!"),
        ("GREETING", "hello", "Deferred 451 4.4.2!"),
        ("GREETING", HANG_UP, "Deferred 451 4.4.2!"),
        ("EHLO", "421 4.3.2 busy", "Deferred 421 4.3.2!"),
        ("EHLO", "450 4.7.1 who?", "Deferred 450 4.7.1!"),
        ("MAIL", "550 5.7.1 not you", "Failed 550 5.7.1"),
        ("MAIL", "451 4.3.0 trouble", "Deferred 451 4.3.0"),
        ("MAIL", "421 4.3.2 closing", "Deferred 421 4.3.2!"),
        ("MAIL", "530 5.7.0 log in first", "Deferred 530 5.7.0!"),
        ("MAIL", HANG_UP, "Deferred 451 4.4.2!"),
        ("RCPT", "550 5.1.1 no", "Failed 550 5.1.1"),
        ("RCPT", "552 5.2.2 full", "Failed 552 5.2.2"),
        ("RCPT", "552 too many recipients", "Deferred 552 5.0.0"),
        ("RCPT", "452 4.5.3 too many recipients", "Deferred 452 4.5.3"),
        ("RCPT", "421 4.7.0 slow down", "Deferred 421 4.7.0"),
        ("RCPT", HANG_UP, "Deferred 451 4.4.2"),
        ("DATA", "554 5.7.1 no", "Failed 554 5.7.1"),
        ("DATA", "451 4.3.1 full", "Deferred 451 4.3.1"),
        ("DATA", HANG_UP, "Deferred 451 4.4.2"),
        ("END", "554 5.7.1 spam", "Failed 554 5.7.1"),
        ("END", "451 4.7.1 later", "Deferred 451 4.7.1"),
        ("END", "421 4.3.2 closing", "Deferred 421 4.3.2"),
        ("END", HANG_UP, "Deferred 451 4.4.2?"),
        ("END", "garbage", "Deferred 451 4.4.2?"),
    ],
)
@ways
def test_what_a_reply_means(extensions: tuple[str, ...] | None, verb: str, said: str, outcome: str) -> None:
    """RFC 5321 §4.2.1, §5.1; trouble with the session or with our log-in never fails a recipient."""
    hop = NextHop(extensions, replies={verb: said})
    assert shown(WayOut(hop).send(message())) == [outcome]


def test_ehlo_and_helo_refused_is_no_failure_of_the_message() -> None:
    hop = NextHop(replies={"EHLO": "550 5.7.1 bad name", "HELO": "550 5.7.1 bad name"})
    assert shown(WayOut(hop).send(message())) == ["Deferred 550 5.7.1!"]


@pytest.mark.parametrize(
    ("verb", "within_s", "outcome"),
    [
        ("GREETING", 302, "Deferred 451 4.4.2!"),
        ("EHLO", 302, "Deferred 451 4.4.2!"),
        ("MAIL", 302, "Deferred 451 4.4.2!"),
        ("RCPT", 302, "Deferred 451 4.4.2"),
        ("DATA", 122, "Deferred 451 4.4.2"),
        ("END", 602, "Deferred 451 4.4.2?"),
    ],
)
def test_silence_ends_after_the_laws_time(verb: str, within_s: float, outcome: str) -> None:
    """RFC 5321 §4.5.3.2, and not before: a time-out after the final dot makes duplicates."""
    way_out = WayOut(NextHop(("8BITMIME",), replies={verb: SILENCE}))
    sending = way_out.start(message())
    way_out.run(within_s - 4)
    assert not sending.results
    way_out.run(4)
    assert shown(sending.outcomes) == [outcome]
    assert "timed out" in str(sending.outcomes)


def test_dribbling_does_not_keep_a_session_alive() -> None:
    """A reply's time counts from the command, not from its last octet."""
    way_out = WayOut(NextHop(replies={"GREETING": SILENCE}))
    sending = way_out.start(message())
    for _ in range(400):
        way_out.run(1)
        transport = way_out.network.transports[0]
        if transport.is_lost:
            break
        assert transport.client is not None
        transport.client.dataReceived(b"2" if not transport.written else b"x")
    assert shown(sending.outcomes) == ["Deferred 451 4.4.2!"]
    assert way_out.clock.seconds() < 310


# -- one host after the other ----------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        NextHop(replies={"GREETING": "554 5.7.1 go away"}),
        NextHop(replies={"GREETING": "521 5.3.2 no mail here"}),
        NextHop(replies={"GREETING": "421 4.3.2 busy"}),
        NextHop(replies={"MAIL": "451 4.3.0 trouble"}),
        NextHop(replies={"RCPT": "450 4.7.1 greylisted"}),
        NextHop(replies={"END": "451 4.7.1 later"}),
        NextHop(replies={"DATA": HANG_UP}),
        error.ConnectionRefusedError(),
        None,
    ],
)
def test_trouble_with_one_host_leads_to_the_next(first: NextHop | Exception | None) -> None:
    """RFC 5321 §5.1."""
    second = NextHop()
    outcomes = WayOut(first, second).send(message(), within_s=40)
    assert shown(outcomes) == ["Delivered 250 2.0.0"]
    assert len(second.taken) == 1


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
def test_a_no_is_not_asked_again(verb: str) -> None:
    first, second = NextHop(replies={verb: "550 5.7.1 no"}), NextHop()
    assert shown(WayOut(first, second).send(message())) == ["Failed 550 5.7.1"]
    assert not second.sessions


def test_what_may_have_been_delivered_is_not_given_to_another_host() -> None:
    """RFC 1047: the content had gone out whole."""
    first, second = NextHop(replies={"END": HANG_UP}), NextHop()
    assert shown(WayOut(first, second).send(message())) == ["Deferred 451 4.4.2?"]
    assert not second.sessions


def test_only_the_undecided_go_to_the_next_host() -> None:
    first = NextHop(recipients={"b@example.net": "450 4.2.1 busy", "c@example.net": "550 5.1.1 no"})
    second = NextHop()
    outcomes = WayOut(first, second).send(message(), "a@example.net", "b@example.net", "c@example.net")
    assert shown(outcomes) == ["Delivered 250 2.0.0", "Delivered 250 2.0.0", "Failed 550 5.1.1"]
    assert second.taken[0].recipients == ["TO:<b@example.net>"]


def test_a_word_about_the_message_tells_more_than_silence() -> None:
    """The destination is not resting-ripe when one of its hosts spoke of the message."""
    first, second = NextHop(replies={"RCPT": "450 4.7.1 greylisted"}), error.ConnectionRefusedError()
    (outcome,) = WayOut(first, second).send(message())
    assert shown([outcome]) == ["Deferred 450 4.7.1"]
    (outcome,) = WayOut(second, first).send(message())
    assert shown([outcome]) == ["Deferred 450 4.7.1"]


def test_when_no_host_can_be_reached_the_destination_is_in_trouble() -> None:
    refused = error.ConnectionRefusedError()
    (outcome,) = WayOut(refused, refused).send(message())
    assert shown([outcome]) == ["Deferred 451 4.4.1!"]
    assert "mx1.example [10.0.1.1]:25" in str(outcome)


def test_at_most_so_many_hosts_are_tried() -> None:
    way_out = WayOut(*[error.ConnectionRefusedError()] * 9, settings=DeliverySettings(hosts_per_attempt=3))
    way_out.send(message())
    assert len(way_out.network.dialled) == 3


def test_a_host_without_an_address_is_passed_over() -> None:
    hop = NextHop()
    way_out = WayOut(NextHop(), hop)
    way_out.routes.known_addresses["mx0.example"] = Failed(reply(550, "5.4.4", "no such host"))
    assert shown(way_out.send(message())) == ["Delivered 250 2.0.0"]
    way_out.routes.known_addresses["mx1.example"] = Deferred(dns_trouble("mx1.example", "SERVFAIL"))
    assert shown(way_out.send(message())) == ["Deferred 451 4.4.3"]


def test_recipients_whose_ways_have_parted_go_separate_ways() -> None:
    """The lane was right when they were queued; the table has changed since."""
    one, other = NextHop(), NextHop()
    way_out = WayOut(one, other)
    first, second = way_out.routes.known_hops["example.net"]
    way_out.routes.known_hops = {"one.example": (first,), "other.example": (second,)}
    outcomes = way_out.send(message(), "a@one.example", "b@other.example", "c@one.example")
    assert shown(outcomes) == ["Delivered 250 2.0.0"] * 3
    assert one.taken[0].recipients == ["TO:<a@one.example>", "TO:<c@one.example>"]
    assert other.taken[0].recipients == ["TO:<b@other.example>"]


# -- many recipients -------------------------------------------------------------------------


def many(count: int) -> list[str]:
    return [f"r{number}@example.net" for number in range(count)]


@pytest.mark.parametrize(("extensions", "limit"), [(EVERYTHING, 4), ((*EVERYTHING, "LIMITS RCPTMAX=3"), 3)])
def test_many_recipients_go_in_several_transactions(extensions: tuple[str, ...], limit: int) -> None:
    """RFC 5321 §4.5.3.1.8, RFC 9422 §4.1; over one connection."""
    hop = NextHop(extensions)
    outcomes = WayOut(hop, settings=DeliverySettings(recipients_per_transaction=4)).send(message(), *many(10))
    assert shown(outcomes) == ["Delivered 250 2.0.0"] * 10
    assert max(len(taken.recipients) for taken in hop.taken) == limit
    assert hop.sessions == 1


@pytest.mark.parametrize("no", ["452 4.5.3 too many recipients", "552 too many recipients", "452 enough"])
@ways
def test_too_many_recipients_are_offered_again_at_once(extensions: tuple[str, ...] | None, no: str) -> None:
    """RFC 5321 §4.5.3.1.10: each transaction disposes of as many as the hop takes."""
    said = ["250 2.1.5 ok", "250 2.1.5 ok", no, no, no, "250 2.1.5 ok", "250 2.1.5 ok", no, "250 2.1.5 ok"]
    hop = NextHop(extensions, replies={"RCPT": said})
    outcomes = WayOut(hop).send(message(), *many(5))
    assert shown(outcomes) == ["Delivered 250 2.0.0"] * 5
    assert [len(taken.recipients) for taken in hop.taken] == [2, 2, 1]


def test_a_hop_that_never_takes_one_is_not_asked_for_ever() -> None:
    hop = NextHop(replies={"RCPT": "452 4.5.3 too many"})
    assert shown(WayOut(hop).send(message(), *many(3))) == ["Deferred 452 4.5.3"] * 3
    assert len(hop.commands) < 10


def test_a_full_mailbox_is_no_matter_of_too_many() -> None:
    hop = NextHop(replies={"RCPT": ["250 ok", "452 4.2.2 full"]})
    assert shown(WayOut(hop).send(message(), *many(2))) == ["Delivered 250 2.0.0", "Deferred 452 4.2.2"]


# -- our own trouble -------------------------------------------------------------------------


def test_a_defect_of_ours_defers_and_is_told() -> None:
    """Nobody waits for an outcome that never comes, and nobody's mail bounces for it."""
    way_out = WayOut(NextHop(), NextHop())
    way_out.deliverer.letter = lambda message: 1 / 0  # type: ignore[assignment,method-assign]
    assert shown(way_out.send(message(), *many(2))) == ["Deferred 451 4.3.0"] * 2
    assert way_out.told[0][0] == "trouble"


def test_a_router_that_fails_defers_too() -> None:
    way_out = WayOut(NextHop(), later=True)
    sending = way_out.start(message())
    way_out.routes.asked[0][0].errback(RuntimeError("a defect"))
    assert shown(sending.outcomes) == ["Deferred 451 4.3.0"]


def test_the_dialogue_of_an_attempt_can_be_shown() -> None:
    """All hosts of it, their greetings too, without the content."""
    way_out = WayOut(
        error.ConnectionRefusedError(), NextHop(recipients={"bob@example.net": "550-5.1.1 no\n550 5.1.1 b"})
    )
    way_out.send(message())
    lines = [text for _, _, text in way_out.accounts[0].lines()]
    assert lines[:3] == [
        "* 451 4.4.1 connect to mx0.example [10.0.0.1]:25: connection refused",
        "< 220 hop.example ESMTP",
        "> EHLO relay.example",
    ]
    assert lines[-6:] == [
        "> RCPT TO:<bob@example.net>",
        "> DATA",
        "< 250 2.1.0 ok",
        "< 550-5.1.1 no",
        "< 550 5.1.1 b",
        "< 554 5.5.1 no valid recipients",
    ]


def test_outcomes_stay_with_their_recipients_over_several_rounds() -> None:
    """One that was "too many" at the first host comes last there; its outcome must not become another's."""
    first = NextHop(replies={"RCPT": ["", "452 4.5.3 too many", ""], "END": "451 4.7.1 later"})
    second = NextHop(recipients={"r1@example.net": "550 5.1.1 no"})
    outcomes = WayOut(first, second).send(message(), *many(3))
    assert shown(outcomes) == ["Delivered 250 2.0.0", "Failed 550 5.1.1", "Delivered 250 2.0.0"]


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [("550 5.7.1 no", "Failed 550 5.7.1"), ("421 4.3.2 bye", "Deferred 421 4.3.2"), ("garbage", "Deferred 451 4.4.2")],
)
def test_a_host_that_thinks_better_of_it_is_believed(behind: str, outcome: str) -> None:
    """354 and a refusal in one segment: it was told as a content of ours that cannot be read, and tried for days."""
    way_out = WayOut(NextHop(replies={"DATA": f"354 go\n{behind}"}))
    assert shown(way_out.send(message(), "bob@example.net")) == [outcome]
    assert not [step for step, _ in way_out.told if step == "trouble"]
