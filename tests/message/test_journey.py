"""An entry of the journal: compact, bounded, and given back with names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message import journey
from relay.message.account import Account, lines_in, transcript
from relay.message.journey import LIMIT_OCTETS, Row, read
from relay.message.reply import Reply, reply

AT = 1_795_453_800.5
HOP = "mx.example.net [192.0.2.7]"
SESSION = journey.session(
    "192.0.2.9", "pc.example.org", "pc", "ESMTPSA", "ann", "tcp:587", "submission", "TLSv1.3", True, "a rule", "r:1"
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def account(*notes: tuple[float, bytes | Reply | str], tls: str = "") -> Account:
    made = Account(AT - 0.25, "routes[2], relay.yaml:31")
    made.add(HOP, tls, notes)
    return made


def given_back(text: bytes) -> Row:
    assert text.isascii()
    return read((AT, text))


# -- how it came ------------------------------------------------------------------------------------


def test_what_was_accepted_comes_back_with_every_field() -> None:
    """So that what was judged then can be judged again by another configuration."""
    recipients = [
        journey.named("bob@example.net"),
        journey.judged(
            "sales@ours.example", "250 2.1.5 OK", "forward: sales", "r:9", ["a@x.example", "b@y.example"], 4, "rfc822;S"
        ),
        journey.judged("nobody@ours.example", "550 5.1.1 No such user", "not in list", "list", []),
    ]
    wishes = journey.wishes("8BITMIME", True, "HDRS", "QQ314", "<>", True)
    text = journey.accepted(
        SESSION, "ann@example.org", 4711, "<1@x>", 3, recipients, journey.check("her own rule", "r:5"), wishes
    )
    assert given_back(text) == {
        "at": AT,
        "step": "accepted",
        "client": "192.0.2.9",
        "client_name": "pc.example.org",
        "helo": "pc",
        "protocol": "ESMTPSA",
        "login": "ann",
        "listener": "tcp:587",
        "service": "submission",
        "tls": "TLSv1.3",
        "certified": True,
        "sender": "ann@example.org",
        "size": 4711,
        "message_id": "<1@x>",
        "recipient_count": 3,
        "body": "8BITMIME",
        "smtputf8": True,
        "ret": "HDRS",
        "envid": "QQ314",
        "auth": "<>",
        "require_tls": True,
        "checks": [
            {"what": "client", "rule": "a rule", "place": "r:1"},
            {"what": "sender", "rule": "her own rule", "place": "r:5"},
        ],
        "recipients": [
            {
                "named": "bob@example.net",
                "reply": "250 2.1.5 OK",
                "rule": "a rule",
                "place": "r:1",
                "to": ["bob@example.net"],
                "notify": None,
                "orcpt": None,
            },
            {
                "named": "sales@ours.example",
                "reply": "250 2.1.5 OK",
                "rule": "forward: sales",
                "place": "r:9",
                "to": ["a@x.example", "b@y.example"],
                "notify": 4,
                "orcpt": "rfc822;S",
            },
            {
                "named": "nobody@ours.example",
                "reply": "550 5.1.1 No such user",
                "rule": "not in list",
                "place": "list",
                "to": [],
                "notify": None,
                "orcpt": None,
            },
        ],
    }


def test_ordinary_mail_takes_little_room() -> None:
    """Thousands of these are written in a second."""
    text = journey.accepted(SESSION, "ann@example.org", 4711, "<1@example.org>", 1, [journey.named("bob@example.net")])
    assert len(text) < 250


def test_what_was_refused_comes_back_with_the_rule_that_did_it() -> None:
    text = journey.refused(
        SESSION, "ann@example.org", None, "", "recipient", "550 5.7.1 No", "why", "r:7", [journey.named("x@y.example")]
    )
    row = given_back(text)
    assert {name: row[name] for name in ("step", "stage", "reply", "rule", "place", "client", "sender", "size")} == {
        "step": "refused",
        "stage": "recipient",
        "reply": "550 5.7.1 No",
        "rule": "why",
        "place": "r:7",
        "client": "192.0.2.9",
        "sender": "ann@example.org",
        "size": None,
    }
    assert [check["what"] for check in row["checks"]] == ["client", "sender"]
    assert row["recipients"][0]["named"] == "x@y.example"


def test_a_sender_who_was_refused_was_let_in_by_nothing() -> None:
    text = journey.refused(SESSION, "eve@x.example", None, "", "sender", "553 5.7.1 No", "why", "r:7")
    assert [check["what"] for check in given_back(text)["checks"]] == ["client"]


def test_many_refusals_are_one_entry() -> None:
    assert given_back(journey.refused_more(1532, AT - 60)) == {
        "at": AT,
        "step": "refused",
        "count": 1532,
        "since": AT - 60,
    }


def test_what_we_wrote_has_no_client() -> None:
    content = b"Date: x\r\nMessage-ID: <q@relay.example>\r\nSubject: y\r\n\r\nMessage-ID: <no>\r\n"
    row = given_back(journey.composed("<>", content, ["ann@example.org"], "q1"))
    assert (row["message_id"], row["report_of"], row["size"], row["checks"]) == (
        "<q@relay.example>",
        "q1",
        len(content),
        [],
    )
    assert "client" not in row
    assert [one["to"] for one in row["recipients"]] == [["ann@example.org"]]


# -- an attempt -------------------------------------------------------------------------------------


def test_an_attempt_comes_back_with_what_was_said_and_what_became_of_each() -> None:
    later = AT + 0.1
    made = account(
        (AT, b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"),
        (later, reply(250, "2.1.0", "ok")),
        (later, reply(450, "4.2.1", "busy", "very busy")),
        (later, "TLS: none"),
        tls="TLSv1.3 X",
    )
    became = [
        journey.became(0, "bob@example.net", "deferred", "450 4.2.1 busy", HOP, AT + 60, True),
        journey.became(7, "eve@example.net", "delivered", "250 ok", HOP),
    ]
    assert given_back(journey.attempted(made, AT, "example.net", became)) == {
        "at": AT,
        "step": "attempted",
        "began_at": AT - 0.25,
        "destination": "example.net",
        "rule": "routes[2], relay.yaml:31",
        "hop": HOP,
        "tls": "TLSv1.3 X",
        "recipients": [
            {
                "number": 0,
                "recipient": "bob@example.net",
                "step": "deferred",
                "reply": "450 4.2.1 busy",
                "hop": HOP,
                "next_at": AT + 60,
                "in_doubt": True,
            },
            {"number": 7, "recipient": "eve@example.net", "step": "delivered", "reply": "250 ok", "hop": HOP},
        ],
        "dialogue": [
            {
                "hop": HOP,
                "tls": "TLSv1.3 X",
                "lines": [
                    [0.25, "> MAIL FROM:<ann@example.org>"],
                    [0.25, "> RCPT TO:<bob@example.net>"],
                    [0.25, "> DATA"],
                    [0.35, "< 250 2.1.0 ok"],
                    [0.35, "< 450-4.2.1 busy"],
                    [0.35, "< 450 4.2.1 very busy"],
                    [0.35, "* TLS: none"],
                ],
            }
        ],
    }


def test_an_attempt_that_reached_nobody_has_no_hop() -> None:
    row = given_back(journey.attempted(Account(AT), AT, "example.net", []))
    assert (row["hop"], row["tls"], row["dialogue"]) == ("", "", [])


@pytest.mark.parametrize(
    "notes",
    [
        [(AT, reply(250, "", *["x" * 500] * 1000))] * 300,
        [(AT, b"RCPT TO:<" + b"a" * 200 + b"@example.net>\r\n" * 1000)] * 2,
        [(AT, "\u20ac" * 5000)] * 50,
        [(AT + number, b"NOOP\r\n") for number in range(100_000)],
    ],
    ids=["replies", "commands", "remarks", "turns"],
)
def test_a_peer_that_talks_without_end_does_not_fill_the_journal(
    notes: list[tuple[float, bytes | Reply | str]],
) -> None:
    made = account(*notes)
    for _ in range(200):
        made.add(HOP, "", notes[:5])
    text = journey.attempted(made, AT, "example.net", [])
    assert len(text) < LIMIT_OCTETS + 1000
    assert given_back(text)["dialogue"]


def test_what_was_cut_says_so() -> None:
    made = account(*[(AT, f"number {number} " + "x" * 1000) for number in range(1000)])
    lines = [line for _, line in given_back(journey.attempted(made, AT, "d", []))["dialogue"][0]["lines"]]
    assert lines[0].startswith("* number 0")
    assert lines[-1].startswith("* number 999")
    assert any(" more...(cut)" in line for line in lines)


def test_a_reply_beyond_ascii_is_shown_as_far_as_it_goes() -> None:
    assert [line for _, line in lines_in(transcript([(AT, reply(550, "5.1.1", "n\u00f6"))], AT).decode())] == [
        "< 550 5.1.1 n?"
    ]


def test_addresses_beyond_ascii_are_kept() -> None:
    """RFC 6531."""
    made = account((AT, "RCPT TO:<b\u00f6b@b\u00fccher.example>\r\n".encode()))
    row = given_back(
        journey.attempted(made, AT, "d", [journey.became(0, "b\u00f6b@b\u00fccher.example", "failed", "550 x", "")])
    )
    assert row["recipients"][0]["recipient"] == "b\u00f6b@b\u00fccher.example"
    assert row["dialogue"][0]["lines"] == [[0.25, "> RCPT TO:<b\u00f6b@b\u00fccher.example>"]]


@given(st.lists(st.one_of(texts, st.binary(max_size=80), st.builds(reply, st.just(250), st.just("2.0.0"), texts))))
def test_whatever_was_said_comes_back_in_printable_lines(said: list[bytes | Reply | str]) -> None:
    """It may be shown on a terminal."""
    row = given_back(journey.attempted(account(*[(AT, one) for one in said]), AT, "d", []))
    for _, line in row["dialogue"][0]["lines"]:
        assert line.isprintable()
        assert line[:2] in ("> ", "< ", "* ")


# -- the others -------------------------------------------------------------------------------------


def test_the_other_entries_come_back_too() -> None:
    assert given_back(journey.changed("held", "ann", "quiet", (0, 3))) == {
        "at": AT,
        "step": "held",
        "by": "ann",
        "why": "quiet",
        "numbers": [0, 3],
    }
    assert given_back(journey.reported("q2", ["ann@x.example"], (1,))) == {
        "at": AT,
        "step": "reported",
        "report": "q2",
        "to": ["ann@x.example"],
        "numbers": [1],
    }
    assert given_back(journey.warned([(0, "bob@x.example", "450 busy")]))["recipients"] == [
        {"number": 0, "recipient": "bob@x.example", "step": "warned", "reply": "450 busy"}
    ]
    assert given_back(journey.expired("d", [(0, "bob@x.example", "450 busy", HOP)])) == {
        "at": AT,
        "step": "expired",
        "destination": "d",
        "recipients": [{"number": 0, "recipient": "bob@x.example", "step": "expired", "reply": "450 busy", "hop": HOP}],
    }
    assert given_back(journey.set_aside("broken")) == {"at": AT, "step": "set_aside", "why": "broken"}


def test_an_entry_of_a_newer_relay_is_understood_as_far_as_it_goes() -> None:
    """An older one may come back after a newer one."""
    assert given_back(json.dumps(["held", "ann", "why", [0], "news"]).encode())["why"] == "why"
    assert given_back(b'["teleported",1,2]') == {"at": AT, "step": "teleported"}


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff\xfe", b'["attempted"]', b'["accepted",1]', b"[[1]]", b"7"])
def test_what_cannot_be_understood_is_told(text: bytes) -> None:
    row = read((AT, text))
    assert row["at"] == AT
    assert row["step"] == "unreadable"
    assert row["error"]


@given(st.recursive(st.one_of(st.none(), st.integers(), texts), lambda one: st.lists(one, max_size=5), max_leaves=20))
def test_nothing_in_the_journal_breaks_who_reads_it(entry: object) -> None:
    for step in ("accepted", "refused", "attempted", "expired", "warned", "reported"):
        row = read((AT, json.dumps([step, entry, entry, entry, entry, entry, entry, entry, entry, entry]).encode()))
        assert row["at"] == AT
        assert "step" in row
