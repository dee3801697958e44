"""A journey in short: its state, its end, and whether it is the one that is looked for."""

from __future__ import annotations

import pytest

from relay.message import journey
from relay.message.account import Account
from relay.message.outline import Outline, is_about, key_of, words_of

AT = 1_795_453_800.0
SESSION = journey.session("192.0.2.9", "pc.example", "pc", "ESMTP", None, "tcp:25", "relay", "", False, "a rule", "r:1")
CAME = journey.accepted(
    SESSION,
    "ann@x.example",
    99,
    "<1@x.example>",
    2,
    [
        journey.named("bob@y.example"),
        journey.judged("sales@z.example", "250 ok", "f", "r", ["eve@b\u00fccher.example"]),
    ],
)


def tried(**became: str) -> bytes:
    """n0="delivered", n1="deferred" …"""
    recipients = [
        journey.became(int(number[1:]), f"r{number}@y.example", step, "250 2.0.0 ok", "mx.example")
        for number, step in became.items()
    ]
    return journey.attempted(Account(AT), AT, "d", recipients)


def outlined(*texts: bytes) -> Outline:
    outline = Outline()
    for number, text in enumerate(texts):
        outline.add(journey.read((AT + number, text)))
    return outline


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        ((CAME,), "queued"),
        ((CAME, tried(n0="delivered")), "queued"),
        ((CAME, tried(n0="delivered", n1="deferred")), "queued"),
        ((CAME, tried(n0="delivered", n1="deferred"), tried(n1="delivered")), "delivered"),
        ((CAME, tried(n0="delivered", n1="failed")), "mixed"),
        ((CAME, tried(n0="failed"), journey.expired("d", [(1, "x", "450", "")])), "failed"),
        ((CAME, tried(n0="failed", n1="discarded")), "mixed"),
        ((CAME, tried(n0="delivered", n1="discarded")), "mixed"),
        ((CAME, tried(n0="discarded", n1="discarded")), "discarded"),
        ((CAME, journey.changed("held", "ann", "", (0, 1))), "held"),
        ((CAME, tried(n0="delivered"), journey.changed("held", "ann", "", (1,))), "held"),
        ((CAME, journey.changed("held", "", "", (0, 1)), journey.changed("released", "", "", (0,))), "queued"),
        ((CAME, journey.changed("removed", "ann", "", (0, 1))), "removed"),
        ((CAME, tried(n0="delivered"), journey.changed("removed", "ann", "", (1,))), "mixed"),
        ((CAME, tried(n0="delivered", n1="delivered"), journey.reported("q", ["a@x.example"], (0,))), "delivered"),
        ((tried(n0="delivered", n1="delivered"),), "delivered"),
        ((journey.refused(SESSION, "a@x.example", None, "", "sender", "553 no", "w", "p"),), "refused"),
        ((journey.refused_more(3, AT),), "refused"),
    ],
)
def test_its_state_is_that_of_its_recipients(texts: tuple[bytes, ...], state: str) -> None:
    """Of what was forgotten meanwhile the rest is told."""
    assert outlined(*texts).row("q1")["state"] == state


def test_its_row_has_what_a_list_shows() -> None:
    row = outlined(CAME, tried(n0="delivered", n1="delivered")).row("q1")
    assert row == {
        "id": "q1",
        "at": AT,
        "sender": "ann@x.example",
        "recipients": ["bob@y.example", "sales@z.example"],
        "recipient_count": 2,
        "client": "192.0.2.9",
        "message_id": "<1@x.example>",
        "size": 99,
        "state": "delivered",
        "last_at": AT + 1,
        "last": "delivered (2): mx.example: 250 2.0.0 ok",
    }


def test_many_recipients_are_told_by_their_number() -> None:
    named = [journey.named(f"r{number}@y.example") for number in range(500)]
    row = outlined(journey.accepted(SESSION, "ann@x.example", 1, "", 500, named)).row("q1")
    assert len(row["recipients"]) == 20
    assert row["recipient_count"] == 500


def test_a_recipient_who_was_refused_is_found_but_gets_nothing() -> None:
    refused = journey.judged("nobody@y.example", "550 no", "w", "p", [])
    outline = outlined(journey.accepted(SESSION, "a@x.example", 1, "", 1, [journey.named("bob@y.example"), refused]))
    assert outline.row("q")["recipients"] == ["bob@y.example"]
    assert is_about(outline, "nobody@y.example")


@pytest.mark.parametrize(
    "wanted",
    [
        "ann@x.example",
        "ANN@X.Example",
        "bob@y.example",
        "sales@z.example",
        "eve@b\u00fccher.example",
        "eve@xn--bcher-kva.example",
        "@xn--bcher-kva.example",
        "@Y.example",
        "r" + "n0@y.example",
    ],
)
def test_an_address_is_found_however_it_is_written(wanted: str) -> None:
    assert is_about(outlined(CAME, tried(n0="delivered")), wanted)


@pytest.mark.parametrize("wanted", ["nn@x.example", "ann@y.example", "@example", "x.example", "", "@"])
def test_another_address_is_not(wanted: str) -> None:
    assert not is_about(outlined(CAME), wanted)


def test_the_null_sender_is_found_too() -> None:
    assert is_about(outlined(journey.composed("<>", b"", ["ann@x.example"])), "<>")
    assert key_of("<>") == "<>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CAME, "accepted from 192.0.2.9"),
        (journey.composed("<>", b"", ["a@x"], "q7"), "written here, a report of q7"),
        (journey.refused(SESSION, None, None, "", "sender", "553 no", "w", "p"), "refused: 553 no"),
        (journey.refused_more(3, AT), "3 more refused"),
        (tried(n0="failed"), "failed: mx.example: 250 2.0.0 ok"),
        (tried(n0="failed", n1="delivered"), "1 failed, 1 delivered"),
        (journey.expired("d", [(0, "x", "450 busy", "")]), "expired: 450 busy"),
        (journey.reported("q2", ["a@x"], (0,)), "the sender was told, in q2"),
        (journey.warned([(0, "x", "450")]), "the sender was told that it takes long"),
        (journey.changed("held", "ann", "quiet", (0,)), "held by ann: quiet"),
        (journey.changed("held", "", "held by routes[0]", (0,)), "held: by routes[0]"),
        (journey.changed("removed", "", "", (0,)), "removed"),
        (journey.set_aside("broken"), "set aside: broken"),
    ],
)
def test_each_entry_in_one_line(text: bytes, words: str) -> None:
    assert words_of(journey.read((AT, text))) == words
