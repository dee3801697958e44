"""The fields for programs (RFC 3464 §2, RFC 3461 §6.3, RFC 6533)."""

from __future__ import annotations

import re

import pytest

from relay.bounce.fields import mta
from relay.message.envelope import Notify, Origin
from relay.message.outcome import Action
from tests.bounce.cases import DAY_S, NOW, Read, a_message, a_reporter, delayed, part_octets, read, relayed, told


def report(*finals: tuple, retry_until: float | None = None, hostname: str | None = None, **message: object) -> Read:
    return read(a_reporter().compose(a_message(**message), finals, None, NOW, retry_until))


def test_the_fields_of_the_message() -> None:
    """RFC 3464 §2.2."""
    assert report(told(), envid="QQ314159").of_message == {
        "Original-Envelope-Id": "QQ314159",
        "Reporting-MTA": "dns; gateway.example.lan",
        "Received-From-MTA": "dns; pc.example.org (192.0.2.9)",
        "Arrival-Date": "Mon, 23 Nov 2026 17:00:00 +0000",
    }


def test_what_was_not_given_does_not_stand_there() -> None:
    """RFC 3461 §6.3 (a), (d): no Original-Envelope-Id without ENVID, no Original-Recipient without ORCPT."""
    read_report = report(told(), origin=Origin())
    assert set(read_report.of_message) == {"Reporting-MTA", "Arrival-Date"}
    assert "Original-Recipient" not in read_report.of_recipients[0]


def test_the_fields_of_a_failed_recipient() -> None:
    """RFC 3464 §2.3."""
    [fields] = report(told(orcpt="rfc822;Bob.Original@example.net"), retry_until=NOW + 1).of_recipients
    assert list(fields.items()) == [
        ("Original-Recipient", "rfc822; Bob.Original@example.net"),
        ("Final-Recipient", "rfc822; bob@example.net"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.example.net"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
        ("Last-Attempt-Date", "Mon, 23 Nov 2026 17:09:59 +0000"),
    ]


def test_a_delayed_recipient_says_until_when_it_is_tried() -> None:
    """RFC 3464 §2.3.9; and §2.3.5: no Remote-MTA where none took part."""
    [fields] = report(delayed(), retry_until=NOW + 5 * DAY_S).of_recipients
    assert fields["Will-Retry-Until"] == "Sat, 28 Nov 2026 17:10:00 +0000"
    assert fields["Action"] == "delayed"
    assert "Remote-MTA" not in fields


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED, Action.EXPANDED])
def test_success(action: Action) -> None:
    [fields] = report(relayed(action=action), retry_until=NOW + 1).of_recipients
    assert fields["Action"] == action.value
    assert fields["Status"] == "2.0.0"
    assert "Will-Retry-Until" not in fields


@pytest.mark.parametrize(
    ("action", "status", "shown"),
    [
        (Action.FAILED, "", "5.0.0"),
        (Action.FAILED, "5.1", "5.0.0"),
        (Action.FAILED, "5.01.1\r\nX-Evil: y", "5.0.0"),
        (Action.DELAYED, "unknown", "4.0.0"),
        (Action.DELIVERED, "", "2.0.0"),
        (Action.FAILED, "4.4.7", "4.4.7"),
        (Action.FAILED, "5.7.999", "5.7.999"),
    ],
)
def test_there_is_always_a_status(action: Action, status: str, shown: str) -> None:
    """RFC 3461 §6.3 (g): 5.0.0 or 4.0.0 where there is none; RFC 3464 §2.3.4: no leading zeros."""
    wish = Notify.SUCCESS | Notify.FAILURE | Notify.DELAY
    [fields] = report(told(action=action, status=status, notify=wish)).of_recipients
    assert fields["Status"] == shown


def test_a_name_that_the_dns_cannot_know_is_not_of_type_dns() -> None:
    """RFC 3461 §6.3 (b)."""
    assert mta("printer") == ("x-local-hostname;", "printer")
    assert mta("[192.0.2.1]") == ("dns;", "[192.0.2.1]")
    assert mta("gruß.example") == ("dns;", "xn--gru-7ka.example")


@pytest.mark.parametrize("words", ["the hop limit was reached", "550 5.1.2 The domain does not exist"])
@pytest.mark.parametrize("hop", ["", "mx.example.net [192.0.2.7]"])
def test_words_of_ours_are_not_called_smtp(words: str, hop: str) -> None:
    """RFC 3461 §9.2: the type ``smtp`` is for replies; RFC 3464 §2.3.6: a Remote-MTA would make it that host's."""
    [fields] = report(told(reply=words, hop=hop, said=())).of_recipients
    assert fields["Diagnostic-Code"] == f"x-relay; {words}"
    assert "Remote-MTA" not in fields


@pytest.mark.parametrize("lines", [1, 3, 200, 2000])
def test_what_is_left_of_a_long_reply_is_well_formed(lines: int) -> None:
    """RFC 3461 §9.2: ``*( 3*DIGIT "-" *text ) 3*DIGIT SPACE *text``."""
    said = (*(f"550-5.1.1 line {number}" for number in range(lines - 1)), "550 5.1.1 " + "x" * 5000)
    for kept in (said, said[:-1]):  # also when the queue has kept the beginning only
        if kept:
            code = report(told(said=kept)).of_recipients[0]["Diagnostic-Code"]
            assert re.fullmatch(r"smtp; (550-5\.1\.1 line \d+ )*550 (5|\.\.\.).*", code)
            assert len(code) < 1020


def test_a_quoted_address_stays_as_it_is() -> None:
    [fields] = report(told('"a  b\\"c"@example.net')).of_recipients
    assert fields["Final-Recipient"] == 'rfc822; "a  b\\"c"@example.net'


@pytest.mark.parametrize(
    ("orcpt", "shown"),
    [
        ("utf-8;\\x{FC}nal@example.net", "utf-8; \\x{FC}nal@example.net"),
        ("utf-8;ünal@example.net", "utf-8; \\x{FC}nal@example.net"),
        ("rfc822;ünal@example.net", "utf-8; \\x{FC}nal@example.net"),
        ("utf-8;a+b=c@example.net", "utf-8; a\\x{2B}b\\x{3D}c@example.net"),
        ("x400;/C=de/S=ünal", "x400; /C=de/S=?nal"),
        ("nonsense", "unknown; nonsense"),
        ("rf c\r\n822;bob@example.net", "rf?c??822; bob@example.net"),
    ],
)
def test_to_an_ascii_sender_everything_is_ascii(orcpt: str, shown: str) -> None:
    """RFC 6533 §3: the way back may know no UTF-8, so addresses are in the 7-bit form of the type utf-8."""
    composed = a_reporter().compose(a_message(smtputf8=True), [told("ünï@example.net", orcpt=orcpt)], None, NOW)
    assert composed is not None and composed.content.isascii() and not composed.envelope.smtputf8
    [fields] = read(composed).of_recipients
    assert fields["Final-Recipient"] == "utf-8; \\x{FC}n\\x{EF}@example.net"
    assert fields["Original-Recipient"] == shown
    assert "<ünï@example.net>" in read(composed).text


def test_to_an_international_sender_utf8_is_used() -> None:
    """RFC 6533 §4.1: the address in UTF-8, in message/global-delivery-status."""
    final = told("ünï@example.net", orcpt="utf-8;\\x{FC}nal@example.net", reply="550 5.1.1 gibt’s nicht")
    composed = a_reporter().compose(a_message(sender="jörg@example.org", smtputf8=True), [final], None, NOW)
    assert composed is not None and composed.envelope.smtputf8
    read_report = read(composed)
    [fields] = read_report.of_recipients
    assert fields["Original-Recipient"] == "utf-8; ünal@example.net"
    assert fields["Final-Recipient"] == "utf-8; ünï@example.net"
    assert fields["Diagnostic-Code"] == "smtp; 550 5.1.1 gibt’s nicht"
    assert "To: <jörg@example.org>\r\n".encode() in composed.content
    assert [part.get_content_type() for part in read_report.whole.iter_parts()][1] == "message/global-delivery-status"


def test_a_sermon_is_cut_and_folded() -> None:
    """RFC 5322 §2.1.1: no line over 998; and a peer does not decide how large our reports are."""
    composed = a_reporter().compose(a_message(), [told(reply="550 " + "blah " * 5000 + "x" * 5000)], None, NOW)
    assert composed is not None
    assert len(composed.content) < 6000
    people, programs, _ = part_octets(composed.content)
    assert max(map(len, (people + programs).split(b"\r\n"))) <= 78
