"""Lists of mailboxes in header fields: the addresses are found, and nothing else is touched (RFC 5322 §3.4, §4.4)."""

from __future__ import annotations

from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.message.address import Address
from relay.message.mailboxes import MailboxesFault, addresses, with_domain, written


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("ann@example.org", ["ann@example.org"]),
        ("root", ["root"]),
        ("root (Cron Daemon)", ["root"]),
        ('Ann <ann@example.org>, "Bob, the Builder" <bob>', ["ann@example.org", "bob"]),
        ("undisclosed-recipients:;", []),
        ("Staff: ann@example.org, bob; , carl", ["ann@example.org", "bob", "carl"]),
        ("<@a.example,@b.example:ann@example.org>", ["ann@example.org"]),
        ('"quoted local"', ['"quoted local"']),
        ('"a@b"@example.org', ['"a@b"@example.org']),
        ("ann @ example . org", ["ann@example.org"]),
        ("<>", []),
        ("ann@[192.0.2.1], bob@[IPv6:2001:db8::1]", ["ann@[192.0.2.1]", "bob@[IPv6:2001:db8::1]"]),
        ("(one (in \\) another)) ann", ["ann"]),
        ("Müller <mueller@example.org>", ["mueller@example.org"]),
        ("ann; bob", ["ann", "bob"]),
        ("=?utf-8?q?M=C3=BCller?=\r\n\t<mueller@example.org>", ["mueller@example.org"]),
        ("", []),
        (" , ,", []),
    ],
)
def test_the_addresses_of_a_field(field: str, found: list[str]) -> None:
    assert [one.text for one in written(field)] == found


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("John Doe", "two words stand where one address should"),
        ("Ann <ann@example.org", "no > follows"),
        ("Ann <ann@example.org> x", "text follows the address"),
        ('"Ann <ann@example.org>', "a quoted string is not closed"),
        ("(Ann <ann@example.org>", "a comment is not closed"),
        ("ann@[192.0.2.1", r"a \[ is not closed"),
        ("ann)", r"a \) closes no comment"),
        ("ann@", "lacks a part beside its @"),
        ("@example.org", "lacks a part beside its @"),
        ("a\\b", "bad character"),
    ],
)
def test_what_is_no_list_is_a_fault_and_stays_as_it_is(field: str, why: str) -> None:
    with pytest.raises(MailboxesFault, match=why):
        written(field)
    assert with_domain(field, "example.org") == field


def test_an_address_that_no_host_could_take_is_a_fault() -> None:
    with pytest.raises(MailboxesFault, match="local part"):
        addresses("a..b@example.org", "here.example")


@pytest.mark.parametrize(
    ("field", "qualified"),
    [
        ("root (Cron Daemon)", "root@here.example (Cron Daemon)"),
        (
            '"Bob, B" <bob>, ann@example.org,\r\n carl',
            '"Bob, B" <bob@here.example>, ann@example.org,\r\n carl@here.example',
        ),
        ('"a@b"', '"a@b"@here.example'),
        ("ann@example.org", "ann@example.org"),
    ],
)
def test_only_what_has_no_domain_gets_one(field: str, qualified: str) -> None:
    assert with_domain(field, "here.example") == qualified


def test_addresses_mean_what_they_say() -> None:
    assert addresses('"a b"@x.example, root', "here.example") == [
        Address("a b", "x.example"),
        Address("root", "here.example"),
    ]


@given(st.text(alphabet='ab@.,;:<>()[]"\\ \r\n\té', max_size=40))
def test_no_text_breaks_it_and_a_second_pass_changes_nothing(field: str) -> None:
    once = with_domain(field, "d.example")
    assert with_domain(once, "d.example") == once
    try:
        found = written(field)
    except MailboxesFault as fault:
        assert str(fault).isprintable()
        return
    assert all(one.has_domain for one in written(once))
    assert len(written(once)) == len(found)


_names = st.text(alphabet="abc .,()", max_size=8)
_words = st.text(alphabet="abc-_", min_size=1, max_size=6)


@given(st.lists(st.tuples(_names, _words), min_size=1, max_size=5))
def test_the_standard_library_reads_the_same(people: list[tuple[str, str]]) -> None:
    field = ", ".join(f'"{name}" <{word}@example.org>' for name, word in people)
    assert [one.text for one in written(field)] == [address for _, address in getaddresses([field])]
