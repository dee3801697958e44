"""From the journal's entries to what a receiver hears, and how it is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from relay.message import journey
from relay.message.account import Account
from relay.operate.webhooks.events import KINDS, USUAL, events_of
from relay.operate.webhooks.signature import UnusableSecret, secret_of, signed
from relay.queue.store import Noted

AT = 1_700_000_000.5
SESSION = journey.session(
    "192.0.2.7", "pc.example", "pc", "ESMTPSA", "ann", "tcp:587", "submission", "TLSv1.3", False, "logged in", "users:3"
)


def noted(entry: bytes) -> Noted:
    return Noted(17, "5f3c", (AT, entry), "ann@example.org", "<1@example.org>")


def heard(entry: bytes, *wanted: str) -> list[dict[str, Any]]:
    return events_of(noted(entry), wanted or KINDS)


ATTEMPTED = journey.attempted(
    Account(AT - 1.5, "routes[0]"),
    AT,
    "smtp:host:25",
    [
        journey.became(0, "bob@example.net", "delivered", "250 OK", "mx [192.0.2.1]"),
        journey.became(1, "eve@example.net", "deferred", "451 later", "mx [192.0.2.1]", AT + 60, True),
        journey.became(2, "max@example.net", "failed", "550 no", "mx [192.0.2.1]"),
    ],
)


def test_an_attempt_is_an_event_for_each_recipient() -> None:
    delivered, deferred, failed = heard(ATTEMPTED)
    assert delivered == {
        "event": "delivered",
        "event_id": "5f3c.17.0",
        "at": AT,
        "id": "5f3c",
        "sender": "ann@example.org",
        "message_id": "<1@example.org>",
        "number": 0,
        "recipient": "bob@example.net",
        "reply": "250 OK",
        "hop": "mx [192.0.2.1]",
        "destination": "smtp:host:25",
    }
    assert (deferred["event"], deferred["next_at"], deferred["in_doubt"]) == ("deferred", AT + 60, True)
    assert (failed["event"], failed["event_id"]) == ("failed", "5f3c.17.2")


def test_who_is_held_by_an_attempt_is_told_of() -> None:
    became = journey.became(1, "eve@example.net", "held", "a function says so", "")
    (held,) = heard(journey.attempted(Account(AT), AT, "function:shop", [became]), "held")
    assert (held["event"], held["number"], held["reply"]) == ("held", 1, "a function says so")


def test_only_what_is_wanted_is_told_and_ids_do_not_depend_on_that() -> None:
    (failed,) = heard(ATTEMPTED, "failed")
    assert failed["event_id"] == "5f3c.17.2"
    assert heard(ATTEMPTED, "accepted") == []
    assert USUAL == ("delivered", "failed", "expired")


def test_a_message_that_came_in() -> None:
    entry = journey.accepted(
        SESSION,
        "ann@example.org",
        512,
        "<1@example.org>",
        2,
        [journey.named("a@b.example"), journey.named("c@d.example")],
    )
    (event,) = heard(entry)
    told = {name: event[name] for name in ("event", "client", "login", "size", "recipient_count", "recipients")}
    assert told == {
        "event": "accepted",
        "client": "192.0.2.7",
        "login": "ann",
        "size": 512,
        "recipient_count": 2,
        "recipients": ["a@b.example", "c@d.example"],
    }


def test_a_message_that_was_refused_and_those_of_which_nothing_is_kept() -> None:
    entry = journey.refused(
        SESSION,
        "x@evil.example",
        None,
        "",
        "recipient",
        "550 5.7.1 no",
        "rule",
        "place",
        [journey.named("a@b.example")],
    )
    (event,) = heard(entry)
    assert (event["event"], event["reply"], event["recipients"]) == ("refused", "550 5.7.1 no", ["a@b.example"])
    assert heard(journey.refused_more(100, AT)) == []


@pytest.mark.parametrize(
    ("entry", "kind", "fields"),
    [
        (
            journey.expired("a.example", [(0, "bob@a.example", "451 late", "")]),
            "expired",
            {"recipient": "bob@a.example"},
        ),
        (journey.warned([(3, "bob@a.example", "451 late")]), "warned", {"number": 3}),
        (journey.reported("6a00", ["ann@example.org"], [0]), "reported", {"report": "6a00", "to": ["ann@example.org"]}),
        (journey.changed("held", "operator", "let me see", [0, 1]), "held", {"by": "operator", "numbers": [0, 1]}),
        (journey.changed("held", "", "held by routes[0]", [2]), "held", {"why": "held by routes[0]", "numbers": [2]}),
        (journey.changed("removed", "operator", "", [0]), "removed", {"numbers": [0]}),
        (journey.changed("released", "operator", "", [0]), "released", {"numbers": [0]}),
    ],
)
def test_what_else_may_happen(entry: bytes, kind: str, fields: dict[str, object]) -> None:
    (event,) = heard(entry)
    assert event["event"] == kind
    assert {name: event[name] for name in fields} == fields


@pytest.mark.parametrize(
    "entry", [b"[]", b"[", b'["attempted"]', b'["of a later version",1,2]', b'["accepted",1]', b""]
)
def test_what_cannot_be_understood_is_told_to_nobody(entry: bytes) -> None:
    assert heard(entry) == []


# -- signing ---------------------------------------------------------------------------------------------------


def test_the_example_of_the_specification() -> None:
    """Standard Webhooks 1.0, the example of its libraries."""
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    fields = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert fields == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_any_text_may_be_a_secret_as_it_is() -> None:
    text = "0123456789abcdef0123"
    fields = signed(secret_of(text), "id", 1.9, b"body")
    expected = base64.b64encode(hmac.digest(text.encode(), b"id.1.body", hashlib.sha256)).decode()
    assert fields["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize("text", ["short", "whsec_!!!", "whsec_c2hvcnQ=", ""])
def test_a_secret_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UnusableSecret) as raised:
        secret_of(text)
    assert not text or text not in str(raised.value)
