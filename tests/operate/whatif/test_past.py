"""Envelopes as they are found in the journal's own entries."""

from __future__ import annotations

import pytest

from relay.message import journey
from relay.operate.whatif.past import Past, Visitor, past_of, untold

AT = 1_700_000_000.0


def session(login: str | None = None, certified: bool = False, rule: str = "accept.networks: 10.0.0.0/8") -> str:
    return journey.session(
        "10.0.0.7", "pc", "pc", "ESMTPS", login, "tcp:25", "relay", "TLSv1.3", certified, rule, "relay.yaml:3"
    )


def found(text: bytes) -> tuple[Past, tuple[bool, ...]] | None:
    return past_of(journey.read((AT, text)))


def test_a_message_that_was_taken() -> None:
    taken = journey.named("bob@example.net")
    renamed = journey.judged("sales@ours.example", "250 2.1.5 OK", "forward: sales", "r:9", ["ann@x.example"], 1)
    refused = journey.judged("eve@ours.example", "550 5.1.1 no", "not in accept.recipients", "r:1", [])
    wishes = journey.wishes("8BITMIME", True, None, None, None, True)
    entry = journey.accepted(
        session("ann"), "ann@example.org", 4711, "<1@x>", 2, [taken, renamed, refused], "null", wishes
    )
    visitor = Visitor("10.0.0.7", "tcp:25", "relay", "TLSv1.3", "ann")
    recipients = ("bob@example.net", "sales@ours.example")  # who was refused has an entry of his own
    assert found(entry) == (Past(visitor, "ann@example.org", recipients, 4711, True, True), (True, True))


def test_the_null_sender_is_empty() -> None:
    entry = journey.accepted(session(), "<>", 1, "", 1, [journey.named("bob@example.net")])
    past = found(entry)
    assert past is not None
    assert past[0].sender == ""


@pytest.mark.parametrize(
    ("rule", "known"),
    [("accept.certificates: sha256:ab", "sha256:ab"), ("accept.certificates: signed by CN=x", "signed by CN=x")],
)
def test_a_certificate_is_known_by_the_rule_that_it_met(rule: str, known: str) -> None:
    past = found(journey.accepted(session(certified=True, rule=rule), "a@b.example", 1, "", 1, [journey.named("c@d")]))
    assert past is not None
    assert past[0].visitor is not None
    assert past[0].visitor.certificate == known


def test_what_was_refused() -> None:
    recipient = journey.judged("eve@ours.example", "550 5.1.1 no", "x", "r:1", [])
    entry = journey.refused(session(), "a@b.example", 1, "", "recipient", "550 5.1.1 no", "x", "r:1", [recipient])
    visitor = Visitor("10.0.0.7", "tcp:25", "relay", "TLSv1.3")
    assert found(entry) == (Past(visitor, "a@b.example", ("eve@ours.example",), 1), (False,))
    entry = journey.refused(session(), "a@b.example", 1, "", "sender", "553 no", "x", "r:1")
    assert found(entry) == (Past(visitor, "a@b.example", (), 1), (False,))


def test_a_report_of_ours_has_no_visitor() -> None:
    assert found(journey.composed("<>", b"x", ["ann@example.org"])) == (Past(None, "", ("ann@example.org",)), (True,))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (
            journey.refused(session(), "a@b.example", 1, "", "content", "554", "hops", "r", [journey.named("c@d")]),
            "content",
        ),
        (journey.refused_more(12, AT), "more"),
        (b"nonsense", "unreadable"),
        (journey.changed("held", "ann", "", (0,)), "unreadable"),
        (journey.accepted(session(), "a@b.example", 1, "", 0, []), "unreadable"),
    ],
)
def test_what_cannot_be_replayed_says_why(entry: bytes, why: str) -> None:
    row = journey.read((AT, entry))
    assert untold(row) == why
    assert past_of(row) is None
