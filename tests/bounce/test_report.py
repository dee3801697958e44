"""The report as a message: read by parsers that are not ours, and not to be broken by what peers say."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.policy import SMTP, default
from email.utils import parsedate_to_datetime

import pytest
from flufl.bounce import all_failures
from hypothesis import given
from hypothesis import strategies as st

from relay.bounce.report import Part, _boundary
from relay.message.address import Address
from relay.message.envelope import Body, Composed, Envelope, Message, Origin, Recipient
from relay.message.outcome import Action, Final
from tests.bounce.cases import (
    CONTENT,
    HEAD,
    NOW,
    a_message,
    a_reporter,
    delayed,
    part_octets,
    read,
    read_octets,
    relayed,
    told,
)
from tests.examples import examples


def test_the_header_section() -> None:
    """RFC 3464 §2, RFC 3834 §3 and §5, RFC 5322 §3.6."""
    report = read(a_reporter().compose(a_message(), [told()], None, NOW)).whole
    assert report["From"] == "Mail Delivery System <MAILER-DAEMON@gateway.example.lan>"
    assert report["To"].addresses[0].addr_spec == "ann@example.org"
    assert report["Subject"] == "Undelivered: Invoice 4711"
    assert parsedate_to_datetime(report["Date"]).timestamp() == NOW
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["In-Reply-To"] == report["References"] == "<4711@example.org>"
    assert report["MIME-Version"] == "1.0"
    assert len(report.keys()) == len(set(report.keys()))


@pytest.mark.parametrize(
    ("final", "subject"),
    [
        (told(), "Undelivered: Invoice 4711"),
        (delayed(), "Delayed: Invoice 4711"),
        (relayed(), "Passed on: Invoice 4711"),
        (relayed(action=Action.DELIVERED), "Delivered: Invoice 4711"),
        (relayed(action=Action.EXPANDED), "Delivered to a list: Invoice 4711"),
    ],
)
def test_the_subject_says_it(final: tuple, subject: str) -> None:
    assert read(a_reporter().compose(a_message(), [final], None, NOW)).whole["Subject"] == subject


@pytest.mark.parametrize(
    ("field", "subject"),
    [
        ("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle", "Undelivered: Grüße an alle"),
        ("Subject: Grüße", "Undelivered: Grüße"),
        ("subject : folded\r\n  over lines", "Undelivered: folded over lines"),
        ("X-Subject: no", "Undelivered"),
        ("Subject:", "Undelivered"),
        ("Subject: =?nonsense?b?////?=", "Undelivered: =?nonsense?b?////?="),
        ("Subject: =?ütf-8?q?a?=", "Undelivered: =?ütf-8?q?a?="),  # a charset that is not even ASCII
        ("Subject: =?utf-8?q?a=0D=0ABcc:_eve@example.com?=", "Undelivered: a??Bcc: eve@example.com"),
        ("Subject: \x1b[2Jgone", "Undelivered: ?[2Jgone"),
    ],
)
def test_the_originals_subject_is_told(field: str, subject: str) -> None:
    composed = a_reporter().compose(a_message(f"{field}\r\n\r\nx\r\n".encode()), [told()], None, NOW)
    assert read(composed).whole["Subject"] == subject
    assert composed is not None and composed.content.partition(b"\r\n\r\n")[0].isascii()


@pytest.mark.parametrize(
    "value", [b"4711@example.org", b"<47 11@example.org>", b"<a@b\x1b>", b"<" + b"a" * 950 + b"@b>"]
)
def test_a_message_id_that_cannot_be_repeated_is_not(value: bytes) -> None:
    report = read(a_reporter().compose(a_message(b"Message-ID: " + value + b"\r\n\r\n"), [told()], None, NOW))
    assert report.whole["In-Reply-To"] is None


def test_the_same_report_is_the_same_each_time() -> None:
    """After a crash it is composed again; a reader then knows it for the same."""
    first, second = (a_reporter().compose(a_message(), [told()], None, NOW) for _ in range(2))
    assert first == second
    other = read(a_reporter().compose(a_message(), [told("carol@example.net")], None, NOW))
    assert other.whole["Message-ID"] != read(first).whole["Message-ID"]


def test_the_original_comes_back_octet_for_octet() -> None:
    """A parser would fold, recode or drop; evidence must not change."""
    header, body = (
        b"subject:   odd\r\n\tfolding \r\nX-Empty:\r\nnot a field\r\n",
        b"--b\r\n.\r\n \r\nend  \r\n\r\n\r\n.",
    )
    content = header + b"\r\n" + body
    composed = a_reporter().compose(a_message(content), [told()], None, NOW)
    assert composed is not None
    label, _, given_back = part_octets(composed.content)[2].partition(b"\r\n\r\n")
    assert b"message/rfc822" in label
    assert given_back == HEAD + content


@pytest.mark.parametrize("content", [b"\r\nbody only\r\n", b"Subject: no end", b"", b"no field at all\r\n"])
def test_a_strange_original_makes_a_sound_report(content: bytes) -> None:
    for final in (told(), delayed()):
        read(a_reporter().compose(a_message(content), [final], None, NOW))
        read(a_reporter().compose(a_message(content, head=b""), [final], None, NOW))


def test_an_8bit_header_section_alone_goes_as_quoted_printable() -> None:
    """RFC 6522 §4: so that a report needs no 8-bit way for a few octets."""
    content = "Subject: Grüße\r\nX-Other: =41\r\n\r\nx\r\n".encode()
    composed = a_reporter().compose(a_message(content), [delayed()], None, NOW)
    assert composed is not None and composed.content.isascii() and composed.envelope.body is Body.SEVENBIT
    original = read(composed).original
    assert original["Content-Transfer-Encoding"] == "quoted-printable"
    assert original.get_payload(decode=True) == HEAD + content.partition(b"\r\n\r\n")[0] + b"\r\n"


def test_an_international_message_to_an_ascii_sender_is_encoded_whole() -> None:
    """RFC 6533 §4.5: message/global may be encoded, and must be when the way back may know no SMTPUTF8."""
    content = "From: ann@example.org\r\nSubject: Grüße\r\n\r\nfür dich\r\n".encode()
    composed = a_reporter().compose(a_message(content, smtputf8=True), [told()], None, NOW)
    assert composed is not None and composed.content.isascii()
    original = read(composed).original
    assert original.get_content_type() == "message/global"
    assert original["Content-Transfer-Encoding"] == "quoted-printable"
    headers = read(a_reporter().compose(a_message(content, smtputf8=True), [delayed()], None, NOW)).original
    assert headers.get_content_type() == "message/global-headers"


def test_an_international_message_to_an_international_sender_goes_as_it_is() -> None:
    content = "From: jörg@example.org\r\nSubject: Grüße\r\n\r\nfür dich\r\n".encode()
    composed = a_reporter().compose(a_message(content, "jörg@example.org", smtputf8=True), [told()], None, NOW)
    assert composed is not None and composed.envelope == Envelope(None, Body.EIGHTBIT, smtputf8=True)
    assert content in composed.content
    assert read(composed).original.get_content_type() == "message/global"


def test_flufl_bounce_finds_the_failed_and_the_delayed() -> None:
    """What list software makes of our reports."""
    finals = [
        told("bob@example.net"),
        delayed("dora@example.net"),
        relayed("rita@example.net"),
        told("carl@example.net"),
    ]
    composed = a_reporter().compose(a_message(), finals, None, NOW, NOW + 3600)
    assert composed is not None
    temporary, permanent = all_failures(message_from_bytes(composed.content))
    assert temporary == {b"dora@example.net"}
    assert permanent == {b"bob@example.net", b"carl@example.net"}


def test_a_boundary_that_stands_in_the_original_is_not_taken() -> None:
    """Somebody who knows how we name boundaries cannot end our part from within his."""
    first = _boundary("name", [])
    second = _boundary("name", [Part("", "", "7bit", b"..." + first.encode())])
    assert second not in ("", first)


def test_ten_thousand_failures_make_a_report_of_bounded_size() -> None:
    """RFC 3464 §2.3 asks for a group of fields for each; the text for people and the replies are kept short."""
    sermon = "550 5.1.1 " + "We are sorry. " * 200
    finals = [told(f"r{n}@example.net", reply=f"{n} {sermon}") for n in range(10_000)]
    composed = a_reporter().compose(a_message(), finals, None, NOW)
    assert composed is not None and len(composed.content) < 6_000_000
    report = read(composed)
    assert len(report.of_recipients) == 10_000
    assert len(report.text) < 50_000
    assert "and 9950 more recipients" in report.text


# -- what peers say -----------------------------------------------------------------------------------

HOSTILE = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from('\r\n\0\x1b\x85\u2028\u202e\udc80 \t:;<>()"\\=?-,@'),
    ),
    max_size=120,
) | st.sampled_from(
    [
        "550 no\r\n\r\nAction: delivered",
        "550 x\r\nStatus: 2.0.0",
        "x\n--=_0\n",
        "\x1b]0;owned\x07",
        "550 =?utf-8?q?a=0D=0AB?=",
        "a: " * 400,
        "x" * 3000,
    ]
)
ADDRESSES = st.builds(
    Address,
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20),
    st.sampled_from(["example.net", "xn--gru-7ka.example", "grüße.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"]),
)
FINALS = st.builds(
    lambda address, orcpt, action, status, reply, hop: (
        Recipient(address, None, orcpt),
        Final(action, status, reply, hop, NOW),
    ),
    ADDRESSES,
    st.none() | HOSTILE,
    st.sampled_from([Action.FAILED, Action.DELAYED]),
    HOSTILE | st.just("5.1.1"),
    HOSTILE,
    HOSTILE,
)
CONTENTS = st.binary(max_size=200) | st.sampled_from(
    [
        CONTENT,
        b"Subject: " + b"\xff" * 50 + b"\r\n\r\n",
        b"\r\n--=_\r\n",
        b"Subject: =?utf-8?b?" + b"A" * 300 + b"?=\r\n\r\n",
    ]
)
KNOWN_FIELDS = {
    "Original-Envelope-Id",
    "Reporting-MTA",
    "Received-From-MTA",
    "Arrival-Date",
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
    "Will-Retry-Until",
}


@examples(40)
@given(
    finals=st.lists(FINALS, min_size=1, max_size=4),
    envid=st.none() | HOSTILE,
    helo=HOSTILE,
    content=CONTENTS,
    sender=ADDRESSES,
    smtputf8=st.booleans(),
)
def test_nothing_that_a_peer_says_breaks_the_structure(
    finals: list, envid: str | None, helo: str, content: bytes, sender: Address, smtputf8: bool
) -> None:
    """Field, part and line are ours alone: no reply, HELO, ENVID, ORCPT or Subject adds one, or an escape code."""
    origin = Origin("192.0.2.9", "unknown", helo)
    envelope = Envelope(sender, smtputf8=smtputf8, envid=envid)
    message = Message("q1", envelope, origin, NOW - 60, HEAD, content, len(HEAD) + len(content))
    composed = a_reporter().compose(message, finals, None, NOW, NOW + 60)
    assert isinstance(composed, Composed)
    report = read(composed)
    assert len(report.of_recipients) == len(finals)
    assert set(report.of_message) | {name for fields in report.of_recipients for name in fields} <= KNOWN_FIELDS
    assert [fields["Action"] for fields in report.of_recipients] == [final.action.value for _, final in finals]
    people, programs, _ = part_octets(composed.content)
    header = composed.content.partition(b"\r\n\r\n")[0]
    for ours in (header, people, programs):
        assert not set(ours) & (set(range(32)) - set(b"\r\n")), "a control character"
        assert max(map(len, ours.split(b"\r\n"))) <= 998
    assert "\x1b" not in report.text
    assert {name.lower() for name in report.whole} == {
        *("date", "from", "to", "subject", "message-id", "auto-submitted", "mime-version"),
        *("content-type", "content-transfer-encoding"),
        *(name for name in ("in-reply-to", "references") if name in report.whole),
    }
    if composed.envelope.body is Body.SEVENBIT and not composed.envelope.smtputf8:
        assert composed.content.isascii()


def test_a_report_survives_a_strict_serialisation() -> None:
    """What a parser reads and writes again is still the same report."""
    composed = a_reporter().compose(a_message(), [told()], None, NOW)
    assert composed is not None
    again = message_from_bytes(composed.content, policy=default).as_bytes(policy=SMTP)
    assert read_octets(again).of_recipients == read(composed).of_recipients


def test_a_report_of_a_message_with_requiretls_goes_the_same_guarded_way() -> None:
    """RFC 8689 §5: with REQUIRETLS itself, and with no more of the message than its header section."""
    message = a_message()
    message = replace(message, envelope=replace(message.envelope, require_tls=True))
    composed = a_reporter().compose(message, [told()], None, NOW)
    assert composed is not None and composed.envelope.require_tls
    assert b"text/rfc822-headers" in composed.content and b"message/rfc822" not in composed.content
    usual = a_reporter().compose(a_message(), [told()], None, NOW)
    assert usual is not None and not usual.envelope.require_tls and b"message/rfc822" in usual.content


def test_a_report_of_a_message_that_needs_no_tls_needs_none_either() -> None:
    """RFC 8689 §6; §4.1: with REQUIRETLS the field counts for nothing."""
    content = b"TLS-Required: No\r\n" + CONTENT
    message = a_message(content)
    strict = replace(message, envelope=replace(message.envelope, require_tls=True))
    for about, expected in ((message, "No"), (strict, None), (a_message(), None)):
        composed = a_reporter().compose(about, [told()], None, NOW)
        assert composed is not None
        assert message_from_bytes(composed.content)["TLS-Required"] == expected
