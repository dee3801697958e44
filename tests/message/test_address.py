"""Addresses and paths (RFC 5321 §4.1.2, §4.1.3, §4.5.3.1; RFC 6531 §3.3): parsed once, never ambiguous after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address, AddressFault, domain_key, is_domain, parse_literal, parse_mailbox, parse_path


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("ann@example.org", "ann", "example.org"),
        ("Ann.B+tag@EXAMPLE.org", "Ann.B+tag", "EXAMPLE.org"),
        ("!#$%&'*+/=?^_`{|}~-@x", "!#$%&'*+/=?^_`{|}~-", "x"),
        ('"ann b"@example.org', "ann b", "example.org"),
        ('"a\\"b\\\\c"@example.org', 'a"b\\c', "example.org"),
        ('"a@b"@example.org', "a@b", "example.org"),
        ('"plain"@example.org', "plain", "example.org"),
        ('""@example.org', "", "example.org"),
        ("ann@[192.0.2.1]", "ann", "[192.0.2.1]"),
        ("ann@[IPv6:2001:db8::1]", "ann", "[IPv6:2001:db8::1]"),
        ("ann@my_host.lan", "ann", "my_host.lan"),
        ("jörg@grüße.example", "jörg", "grüße.example"),
        ("a%b!c@example.org", "a%b!c", "example.org"),
    ],
)
def test_a_mailbox_is_understood(text: str, local: str, domain: str) -> None:
    address = parse_mailbox(text)
    assert (address.local, address.domain) == (local, domain)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ann", "@example.org", "ann@", "ann@@example.org", ".ann@x", "ann.@x", "a..b@x", "a b@x", "ann@x y"),
        *("ann@-x.org", "ann@x-.org", "ann@x..org", "ann@.org", "ann@x.org.", "ann@[", "ann@[]", "ann@[1.2.3]"),
        *("ann@[1.2.3.4", "ann@[1.2.3.256]", "ann@[IPv6:xyz]", "ann@[2001:db8::1]", '"ann@x', '"a"b@x', '"a""b"@x'),
        *('"a\nb"@x', '"a\\\nb"@x', "a\r\nb@x", "ann@x\r\nRCPT TO:<b@y>", "ann@x\0", "a\x7f@x", '"\x1b"@x', "a,b@x"),
        *(
            "<ann@x>",
            "ann@x>",
            "a\u0085b@x",
            "a\u2028b@x",
            "a\u202eb@x",
            "a\udc80b@x",
            "ann@x\u202e.org",
            "ann@\udcffx",
        ),
        "ann@" + "a" * 64 + ".org",
    ],
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    """What does not parse cannot reach a header, a log or the next hop: line ends and quotes above all."""
    with pytest.raises(AddressFault):
        parse_mailbox(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a" * 64 + "@x", True),
        ("a" * 65 + "@x", False),
        ("ä" * 32 + "@x", True),
        ("ä" * 32 + "a@x", False),
        ('"' + "a" * 62 + '"@x', True),
        ('"' + "a" * 63 + '"@x', False),
        ("a@" + ".".join(["b" * 63] * 4), True),
        ("a@" + ".".join(["b" * 63] * 4) + ".c", False),
    ],
)
def test_the_limits_are_those_of_the_law(text: str, fits: bool) -> None:
    """RFC 5321 §4.5.3.1.1, .2: octets as written, the quotes too."""
    if fits:
        parse_mailbox(text)
    else:
        with pytest.raises(AddressFault) as fault:
            parse_mailbox(text)
        assert fault.value.too_long


LOCALS = st.text(
    st.characters(min_codepoint=32, max_codepoint=126)
    | st.sampled_from("äßж漢\U0001f600\u200d")
    | st.characters(min_codepoint=0xA0, exclude_categories=("Cs", "Zl", "Zp", "Cf")),
    max_size=12,
)
DOMAINS = st.sampled_from(["example.org", "x", "grüße.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a-b.c_d"])


@given(LOCALS, DOMAINS)
def test_what_is_written_is_read_back(local: str, domain: str) -> None:
    address = Address(local, domain)
    assert parse_mailbox(str(address)) == address
    assert parse_path(f"<{address}> SIZE=1") == (address, len(str(address)) + 2)


@given(st.text(max_size=40) | st.text('<>@:,."\\ ab[]1%!\r\n\0', max_size=25))
def test_whatever_is_read_can_be_written_and_ends_no_line(text: str) -> None:
    for parse in (parse_mailbox, parse_path):
        try:
            read = parse(text)
        except AddressFault as fault:
            assert str(fault).isprintable()
            continue
        address = read[0] if isinstance(read, tuple) else read
        if address is not None:
            written = str(address)
            assert not set(written) & set("\r\n\0\x85\u2028\u2029")
            written.encode()
            assert not address.domain or parse_mailbox(written) == address


@pytest.mark.parametrize(
    ("text", "address", "end"),
    [
        ("<>", None, 2),
        ("<> SIZE=5", None, 2),
        ("<ann@x.org> BODY=8BITMIME", Address("ann", "x.org"), 11),
        ("<Postmaster>", Address("Postmaster", ""), 12),
        ("<postMASTER> X", Address("postMASTER", ""), 12),
        ("<postmaster@x>", Address("postmaster", "x"), 14),
        ("<@foo.com:Jones@XYZ.COM>", Address("Jones", "XYZ.COM"), 24),
        ("<@a.example,@b.example:ann@x>", Address("ann", "x"), 29),
        ('<"a>b"@x>', Address("a>b", "x"), 9),
    ],
)
def test_a_path_is_understood(text: str, address: Address | None, end: int) -> None:
    """RFC 5321 §4.1.2; appendix C: a source route is accepted and ignored."""
    assert parse_path(text) == (address, end)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann@x",
        "<",
        "<ann@x",
        "<ann@x >",
        "< ann@x>",
        "<ann>",
        "<@a.example>",
        "<@a.example ann@x>",
        "<@:ann@x>",
        "<<>>",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(AddressFault):
        parse_path(text)


def test_a_path_has_256_octets_and_a_source_route_does_not_count() -> None:
    """RFC 5321 §4.5.3.1.3.  The route is dropped, so it must not cost the mailbox behind it."""
    longest = "a" * 64 + "@" + ".".join(["b" * 63] * 2 + ["c" * 61])
    assert len(longest) == 254
    parse_path(f"<{longest}>")
    parse_path(f"<@relay.example:{longest}>")
    with pytest.raises(AddressFault) as fault:
        parse_path(f"<{longest}d>")
    assert fault.value.too_long


def test_tables_know_an_address_without_case_and_in_a_labels() -> None:
    assert (
        parse_mailbox("Ann@GRÜSSE.example").key
        == parse_mailbox("ann@grüsse.EXAMPLE").key
        == "ann@xn--grsse-lva.example"
    )
    assert Address("Postmaster", "").key == "postmaster"
    assert domain_key("Example.ORG.") == "example.org"


def test_an_address_says_whether_it_needs_smtputf8() -> None:
    assert parse_mailbox("ann@x").is_ascii
    assert not parse_mailbox("jörg@x").is_ascii
    assert not parse_mailbox("ann@grüße.example").is_ascii


def test_a_literal_is_an_address() -> None:
    assert str(parse_mailbox("a@[192.0.2.1]").literal) == "192.0.2.1"
    assert str(parse_mailbox("a@[ipv6:2001:DB8::1]").literal) == "2001:db8::1"
    assert parse_mailbox("a@x").literal is None
    assert parse_literal("[nonsense]") is None


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        *(
            ("example.org", True),
            ("x", True),
            ("[192.0.2.1]", True),
            ("[IPv6:::1]", True),
            ("a_b", True),
            ("grüße.de", True),
        ),
        *(("", False), ("a b", False), ("a.", False), (".", False), ("[x]", False), ("a\r\n", False), ("a..b", False)),
    ],
)
def test_a_domain(text: str, fits: bool) -> None:
    assert is_domain(text) is fits


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a." * 50_000, '"' + "\\a" * 50_000, "<@" + "a" * 100_000, "a@" + "b-" * 50_000]
)
def test_an_endless_text_is_refused_in_linear_time(text: str) -> None:
    for parse in (parse_mailbox, parse_path):
        with pytest.raises(AddressFault):
            parse(text)
