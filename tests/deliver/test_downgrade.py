"""8-bit content for a 7-bit hop: every part decodes to what was sent, nothing else is touched, or it is refused."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.deliver.downgrade import DEPTH_LIMIT, downgrade, needs_8bit, needs_binary
from tests.examples import examples

GERMAN = "Zahlen Sie bitte für Müller.\r\n".encode()
CYRILLIC = "Съешь же ещё этих мягких булок.\r\n".encode()


def lines(*parts: bytes | str) -> bytes:
    return b"".join((part.encode() if isinstance(part, str) else part) + b"\r\n" for part in parts)


def part(*header: str, body: bytes = GERMAN) -> bytes:
    return lines(*header, "") + body


def multipart(*parts: bytes, kind: str = "mixed", boundary: str = "b", more: str = "") -> bytes:
    """A message of these parts; what is between them is the plainest that there is."""
    inner = b"".join(b"\r\n--" + boundary.encode() + b"\r\n" + one for one in parts)
    header = lines("MIME-Version: 1.0", f'Content-Type: multipart/{kind}; boundary="{boundary}"{more}', "")
    return header + inner[2:] + b"\r\n--" + boundary.encode() + b"--\r\n"


# -- golden cases --------------------------------------------------------------------------------------


def test_7bit_content_stays_as_it_is() -> None:
    """Signatures live as long as nothing has to be changed."""
    message = multipart(part("X: y", body=b"text\r\n")) + b"epilogue"
    assert downgrade(message) is message
    assert downgrade(b"Subject: x\r\n\r\nplain\r\n") == b"Subject: x\r\n\r\nplain\r\n"


def test_text_becomes_quoted_printable_and_its_label_is_replaced_in_its_place() -> None:
    header = ("Subject:  x ", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8")
    message = part(*header, "Content-Transfer-Encoding: 8bit", "X-Last: y")
    assert downgrade(message) == part(
        *header,
        "Content-Transfer-Encoding: quoted-printable",
        "X-Last: y",
        body=b"Zahlen Sie bitte f=C3=BCr M=C3=BCller.\r\n",
    )


def test_what_is_hardly_ascii_becomes_base64() -> None:
    converted = downgrade(part("MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", body=CYRILLIC))
    assert converted is not None and b"Content-Transfer-Encoding: base64\r\n\r\n" in converted


def test_without_mime_the_charset_is_called_unknown() -> None:
    """RFC 1428 §3: nobody said what these octets mean, and we do not guess."""
    assert downgrade(part("Subject: x")) == part(
        "Subject: x",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=unknown-8bit",
        "Content-Transfer-Encoding: quoted-printable",
        body=b"Zahlen Sie bitte f=C3=BCr M=C3=BCller.\r\n",
    )


def test_only_the_part_that_needs_it_is_changed() -> None:
    plain = part("Content-Type: text/plain", body=b"as it  was \r\n")
    png = bytes(range(256))
    message = multipart(
        plain,
        part("Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: 8bit"),
        part("Content-Type: image/png", "Content-Transfer-Encoding: binary", body=png),
    )
    converted = downgrade(message)
    assert converted is not None and converted.isascii()
    assert b"--b\r\n" + plain + b"\r\n--b\r\n" in converted
    _, html, image = message_from_bytes(converted, policy=default).iter_parts()
    assert html["Content-Transfer-Encoding"] == "quoted-printable"
    assert html.get_payload(decode=True) == GERMAN
    assert image["Content-Transfer-Encoding"] == "base64"
    assert image.get_payload(decode=True) == png


def test_a_multipart_and_a_message_are_relabelled_and_not_encoded() -> None:
    """RFC 2045 §6.4: it is forbidden to encode what contains encodings."""
    inner = part("Subject: inner", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8")
    forwarded = lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "") + inner
    converted = downgrade(multipart(forwarded, more="\r\nContent-Transfer-Encoding: 8bit"))
    assert converted is not None and converted.isascii()
    whole = message_from_bytes(converted, policy=default)
    [carrier] = whole.iter_parts()
    assert whole["Content-Transfer-Encoding"] == carrier["Content-Transfer-Encoding"] == "7bit"
    assert carrier.get_payload(0).get_payload(decode=True) == GERMAN


def test_the_parts_of_a_digest_are_messages() -> None:
    """RFC 2046 §5.1.5."""
    converted = downgrade(multipart(part(body=part("Subject: x")), kind="digest"))
    assert converted is not None
    assert (
        b"--b\r\n\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" in converted
    )


def test_preamble_and_epilogue_cannot_be_encoded_and_are_shown_to_nobody() -> None:
    message = multipart(part("Content-Type: text/plain", body=b"x"))
    message = message.replace(b"\r\n\r\n--b", b"\r\n\r\npre\xe9\r\n--b", 1) + b"epi\xe9logue"
    converted = downgrade(message)
    assert converted == message.replace(b"\xe9", b"?")


def test_a_delimiter_is_a_line_of_its_own() -> None:
    """RFC 2046 §5.1.1: ``--bc``, ``x--b`` and a longer boundary that begins alike are text."""
    inner = multipart(part("Content-Type: text/plain; charset=utf-8"), boundary="b.inner")
    tricky = lines("x--b", "--bc", "--b x") + GERMAN
    converted = downgrade(multipart(inner, part("Content-Type: text/plain; charset=utf-8", body=tricky)))
    assert converted is not None
    first, second = message_from_bytes(converted, policy=default).iter_parts()
    assert [leaf.get_payload(decode=True) for leaf in first.iter_parts()] == [GERMAN]
    assert second.get_payload(decode=True) == tricky


def test_spaces_after_a_delimiter_belong_to_it() -> None:
    message = multipart(part("Content-Type: text/plain; charset=utf-8")).replace(b"--b\r\n", b"--b \t\r\n", 1)
    converted = downgrade(message)
    assert converted is not None and b"--b \t\r\nContent-Type" in converted and converted.isascii()


def test_a_multipart_that_is_never_closed_goes_to_the_end() -> None:
    message = multipart(part("Content-Type: text/plain; charset=utf-8")).replace(b"\r\n--b--\r\n", b"")
    converted = downgrade(message)
    assert converted is not None and converted.endswith(b"f=C3=BCr M=C3=BCller.\r\n")


def test_quoted_printable_that_lied_is_mended() -> None:
    """Decoders let raw octets pass, so that naming them changes nothing but the label's truth."""
    message = part(
        "MIME-Version: 1.0",
        "Content-Type: text/plain",
        "Content-Transfer-Encoding: quoted-printable",
        body=b"a=20\xe9=\r\nb",
    )
    assert downgrade(message) == message.replace(b"\xe9", b"=E9")


def test_a_line_that_is_no_field_ends_the_header_section() -> None:
    """As readers see it; without the empty line our new fields would stand in the body."""
    converted = downgrade(b"Received: x\r\n" + GERMAN)
    assert converted is not None
    message = message_from_bytes(converted, policy=default)
    assert message.get_payload(decode=True) == GERMAN


def test_8bit_octets_in_the_header_section_stay() -> None:
    """They were against the law when they came; nobody knows what they mean.  What the label tells of is the body."""
    message = "Subject: Grüße\r\n\r\nplain\r\n".encode()
    assert downgrade(message) == message
    converted = downgrade("Subject: Grüße\r\n\r\n".encode() + GERMAN)
    assert converted is not None and "Subject: Grüße\r\n".encode() in converted
    assert converted.partition(b"\r\n\r\n")[2].isascii()


def test_a_report_gives_back_a_signed_message_with_its_signature_broken() -> None:
    """RFC 6522 §3: what is returned may be re-encoded; else a report could be lost for what it reports."""
    signed = multipart(part("Content-Type: text/plain; charset=utf-8"), kind="signed", boundary="s")
    report = multipart(lines("Content-Type: message/rfc822", "") + signed, kind="report", boundary="r")
    assert downgrade(signed) is None
    converted = downgrade(report)
    assert converted is not None and converted.isascii()


def test_a_report_that_cannot_be_had_whole_goes_with_the_header_section_of_what_it_gives_back() -> None:
    """RFC 6522 §3, §4: its sender is null, and nobody would hear that it was lost."""
    header = "Subject: to8 ö\r\nX-Other: =41\r\n".encode()
    returned = lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "") + header + b"\r\n" + GERMAN
    status = lines("Content-Type: message/delivery-status", "", "Reporting-MTA: dns; x")
    label = "; report-type=delivery-status\r\nContent-Transfer-Encoding: 8bit"
    people = part("Content-Type: text/plain", body=b"It failed.")
    report = multipart(people, status, returned, kind="report", more=label)
    assert downgrade(report) is None
    converted = downgrade(report, is_report=True)
    assert converted is not None and converted.isascii()
    whole = message_from_bytes(converted, policy=default)
    *_, original = whole.iter_parts()
    assert whole["Content-Transfer-Encoding"] == "7bit"
    assert b"--b\r\n" + people + b"\r\n--b\r\n" + status + b"\r\n--b" in converted
    assert original.get_content_type() == "text/rfc822-headers"
    assert original["Content-Transfer-Encoding"] == "quoted-printable"
    assert original.get_payload(decode=True) == header


@pytest.mark.parametrize("kind", ["report", "mixed"])
def test_what_is_no_report_or_fails_for_another_part_is_not_shortened(kind: str) -> None:
    plain = lines("Content-Type: message/rfc822", "", "Subject: x", "", "x")
    eightbit = lines("Content-Type: message/rfc822", "", "Subject: Grüße", "", "x")
    assert downgrade(multipart(part("X: ü"), plain, kind=kind), is_report=True) is None
    assert (downgrade(multipart(eightbit, kind=kind), is_report=True) is None) is (kind == "mixed")
    assert downgrade(multipart(part("X: ü"), eightbit, kind=kind), is_report=True) is None


def test_a_report_that_can_be_had_whole_is() -> None:
    returned = lines("Content-Type: message/rfc822", "") + part("Content-Type: text/plain; charset=utf-8")
    report = multipart(returned, kind="report")
    assert downgrade(report, is_report=True) == downgrade(report) is not None


# -- what cannot be converted --------------------------------------------------------------------------

MIME = "MIME-Version: 1.0"


@pytest.mark.parametrize(
    "message",
    [
        multipart(part("Content-Type: text/plain"), kind="signed"),
        multipart(part("Content-Type: text/plain"), kind="encrypted"),
        multipart(multipart(part(), kind="signed", boundary="s")),
        part(MIME, "Content-Type: multipart/mixed"),
        part(MIME, "Content-Type: multipart/mixed; boundary="),
        part(MIME, "Content-Type: multipart/mixed; boundary=absent"),
        part(MIME, "Content-Type: multipart/mixed; boundary=a; boundary=b"),
        part(MIME, 'Content-Type: multipart/mixed; name="; boundary=b"', body=b"--b\r\n\r\n\xe9\r\n--b--\r\n"),
        part(MIME, "Content-Type: multipart/mixed; boundary=é", body=b"--\xc3\xa9\r\n\r\n\xe9"),
        part(MIME, "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: base64"),
        part(MIME, "Content-Type: message/rfc822", "Content-Transfer-Encoding: quoted-printable"),
        part(MIME, "Content-Type: message/partial"),
        part(MIME, "Content-Type: text/plain", "Content-Transfer-Encoding: base64"),
        part(MIME, "Content-Type: text/plain", "Content-Transfer-Encoding: x-uuencode"),
        part(MIME, "Content-Type: text/plain", "Content-Type: multipart/mixed; boundary=b"),
        part(MIME, "Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64"),
        part(MIME, "Content-Transfer-Encoding: quoted-printable", body=b"\xe9" + b"x" * 999),
        multipart(part(), part("Content-Disposition: attachment; filename=ü.txt", body=b"x")),
        multipart(part("Content-Disposition: attachment; filename=ü.txt")),
        multipart(lines("Content-Type: message/rfc822", "", "Subject: Grüße", "", "x")),
        part(MIME, "Content-Type: message/rfc822", body=part("Subject: Grüße")),
        b"Subject: x\ny\r\n\r\nplain\r\n",
        b"Subject: x\0\r\n\r\n" + GERMAN,
    ],
)
def test_what_cannot_be_promised_is_refused(message: bytes) -> None:
    """Then the sender is told (5.6.3): a wrong guess would be silent damage."""
    assert downgrade(message) is None


def test_nesting_has_a_bound() -> None:
    message = part("Content-Type: text/plain; charset=utf-8")
    for level in range(DEPTH_LIMIT - 1):
        message = multipart(message, boundary=f"b{level}")
    assert downgrade(message) is not None
    for level in range(2):
        message = multipart(message, boundary=f"c{level}")
    assert downgrade(message) is None


# -- binary --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"a\nb", b"a\rb\r\n", b"\0", b"x" * 999 + b"\r\n", b"\n.\n", b"\r\n.\n"])
def test_binary_content_becomes_lines(body: bytes) -> None:
    """RFC 3030 §3.  A bare LF that reached a hop over DATA could end the message there."""
    converted = downgrade(part(MIME, "Content-Type: text/plain", "Content-Transfer-Encoding: binary", body=body))
    assert converted is not None and not needs_binary(converted)
    assert message_from_bytes(converted, policy=default).get_payload(decode=True) == body


def test_what_a_hop_must_not_get() -> None:
    assert needs_8bit(GERMAN) and not needs_8bit(b"a\r\n")
    assert needs_binary(b"a\n") and not needs_binary(GERMAN)


# -- any message ---------------------------------------------------------------------------------------

BODIES = st.binary(max_size=120) | st.sampled_from([GERMAN, CYRILLIC, b"", b"plain\r\n", b"\xe9", b" \r\n\xe9 "])
LEAVES = st.builds(
    lambda kind, body: (
        lines(f"Content-Type: {kind}", "Content-Transfer-Encoding: binary", "") + body,
        [body],
    ),
    st.sampled_from(["text/plain; charset=utf-8", "text/html", "image/png", "application/json"]),
    BODIES,
)


def wrapped(inner: st.SearchStrategy) -> st.SearchStrategy:
    def build(children: list, number: int) -> tuple[bytes, list[bytes]]:
        octets = multipart(*(child for child, _ in children), boundary=f"=_{number}-{id(children):x}")
        return octets, [body for _, bodies in children for body in bodies]

    def forwarded(child: tuple[bytes, list[bytes]]) -> tuple[bytes, list[bytes]]:
        return lines("Content-Type: message/rfc822", "", "MIME-Version: 1.0") + child[0], child[1]

    return st.builds(build, st.lists(inner, min_size=1, max_size=3), st.integers(0, 99)) | inner.map(forwarded)


def leaf_octets(message: EmailMessage) -> list[bytes]:
    """What a reader gets out of the parts."""
    return [leaf.get_payload(decode=True) for leaf in message.walk() if not leaf.is_multipart()]


@examples(100)
@given(st.recursive(LEAVES, wrapped, max_leaves=6))
def test_every_part_decodes_to_what_was_sent(case: tuple[bytes, list[bytes]]) -> None:
    message, bodies = case
    converted = downgrade(lines("MIME-Version: 1.0") + message)
    assert converted is not None
    assert converted.isascii() and not needs_binary(converted)
    assert leaf_octets(message_from_bytes(converted, policy=default)) == bodies


@examples(100)
@given(
    st.lists(
        st.sampled_from(
            (
                *(b"\r\n", b"--b", b"--", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\xe9", b"\n", b"\0", b"x", b" "),
                *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n", b"\r\n\r\n"),
                *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: 8bit\r\n", b"Subject"),
            )
        )
    ).map(b"".join)
)
def test_whatever_comes_the_body_is_7bit_or_refused(message: bytes) -> None:
    converted = downgrade(message)
    if converted is not None:
        body = converted.partition(b"\r\n\r\n")[2]
        assert body.isascii() and not needs_binary(body)
        assert converted.count(b"\n") == converted.count(b"\r\n") == converted.count(b"\r")
        assert downgrade(converted) == converted


@pytest.mark.parametrize(
    "message",
    [
        lines(MIME, "Content-Type: multipart/mixed; boundary=b", "") + b"\r\n--b" * 200_000 + b"\r\n\xe9",
        lines(MIME, "Content-Type: multipart/mixed; boundary=b", "") + b"--b" * 300_000 + b"\r\n--b\r\n\r\n\xe9",
        b"Subject: x" + b"\r\n y" * 200_000 + b"\r\n\r\n\xe9",
        lines(MIME, "Content-Type: text/plain" + "; a=b" * 200_000, "") + b"\xe9",
        lines(MIME, 'Content-Type: multipart/mixed; boundary="' + "\\a" * 400_000, "") + b"\xe9",
    ],
    ids=["empty parts", "no delimiters", "folding", "parameters", "an open quote"],
)
def test_a_hostile_megabyte_takes_linear_time(message: bytes) -> None:
    started = process_time()
    downgrade(message)
    assert process_time() - started < 5


def test_the_result_is_accepted_as_it_stands_by_a_strict_writer() -> None:
    """Python's writer refuses or recodes what is not 7-bit MIME."""
    converted = downgrade(multipart(part("Content-Type: text/plain; charset=utf-8"), part("Content-Type: image/gif")))
    assert converted is not None
    assert message_from_bytes(converted, policy=SMTP).as_bytes() == converted
