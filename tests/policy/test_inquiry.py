"""VRFY and EXPN (RFC 5321 §3.5)."""

from __future__ import annotations

import pytest

from relay.message import reply
from relay.message.address import Address, AddressFault
from relay.policy.directory import parse_entry
from relay.policy.forward import Forward
from relay.policy.policy import Policy, PolicySettings, Whom
from relay.policy.recipients import entry_key, parse_recipients
from tests.policy.test_forward import entries

DIRECTORY = (
    parse_entry("crispin", "Mark Crispin <Admin.MRC@foo.example>"),
    parse_entry("joe", "Joe Smith <jsmith@foo.example>"),
    parse_entry("harry", "Harry Smith <hsmith@foo.example>"),
    parse_entry("mel", "dweep@foo.example"),
    parse_entry("gone", "Gone Away <gone@foo.example>"),
    parse_entry("moved", "Moved On <moved@foo.example>"),
)
FORWARD = {
    "gone@foo.example": "gone@else.example",
    "moved@foo.example": Forward(refer=Address("moved", "else.example")),
    "sales": ["jsmith@foo.example", "bob@else.example"],
    "round@foo.example": "about@foo.example",
    "about@foo.example": "round@foo.example",
    "@caught.example": "all@else.example",
}
LISTED = "jsmith@foo.example\nAdmin.MRC@foo.example\nboth\nonce@foo.example\n"


def policy(listed: bool = True, **more: object) -> Policy:
    settings = PolicySettings(
        domains=("foo.example", "second.example", "caught.example"),
        directory=DIRECTORY,
        forward=entries(FORWARD),
        recipients_listed=listed,
        **more,
    )
    return Policy(settings, parse_recipients(LISTED, "list") if listed else None)


def vrfy(text: str, which: Policy | None = None, ip: str = "127.0.0.1") -> str:
    which = which or policy()
    return str(which.verify(which.client(ip), text).reply)


def expn(text: str, which: Policy | None = None, ip: str = "127.0.0.1") -> str:
    which = which or policy()
    return str(which.expand(which.client(ip), text).reply)


@pytest.mark.parametrize(
    "text",
    [
        "Crispin",
        "crispin",
        "Mark Crispin",
        " mark   crispin ",
        "Admin.MRC@foo.example",
        "<admin.mrc@FOO.example>",
        '"Mark Crispin"',
        "Admin.MRC",
        "Mark",
    ],
)
def test_vrfy_finds_a_user_by_any_of_the_names(text: str) -> None:
    """The form of the answer is that of RFC 5321 §3.5.1."""
    assert vrfy(text) == "250 2.1.5 Mark Crispin <Admin.MRC@foo.example>"


def test_vrfy_tells_the_possibilities_of_an_ambiguous_name() -> None:
    assert vrfy("Smith") == (
        "553 5.1.4 Ambiguous; Possibilities are / Joe Smith <jsmith@foo.example> / Harry Smith <hsmith@foo.example>"
    )


def test_vrfy_needs_no_full_name() -> None:
    assert vrfy("mel") == "250 2.1.5 <dweep@foo.example>"


@pytest.mark.parametrize("text", ["gone", "Gone Away", "gone@foo.example"])
def test_vrfy_tells_where_a_forwarded_user_is(text: str) -> None:
    assert vrfy(text) == "251 2.1.5 User not local; will forward to <gone@else.example>"


@pytest.mark.parametrize("text", ["moved", "<moved@foo.example>"])
def test_vrfy_tells_where_somebody_moved(text: str) -> None:
    assert vrfy(text) == "551 5.1.6 User not local; please try <moved@else.example>"


@pytest.mark.parametrize("text", ["nobody@foo.example", "nobody", "Nobody At All"])
def test_vrfy_of_an_unknown_one_of_ours(text: str) -> None:
    assert vrfy(text) == "550 5.1.1 No such user here"


@pytest.mark.parametrize("text", ["ann@else.example", "postmaster@foo.example"])
def test_vrfy_of_what_we_would_take_but_cannot_verify(text: str) -> None:
    assert vrfy(text).startswith("252 2.1.5")


def test_vrfy_without_a_list_cannot_verify() -> None:
    assert vrfy("nobody@foo.example", policy(listed=False)).startswith("252 ")


def test_vrfy_without_list_and_directory_does_not_deny_a_name() -> None:
    assert vrfy("nobody", Policy(PolicySettings(domains=("foo.example",)))).startswith("252 ")


def test_vrfy_of_a_listed_address_says_so() -> None:
    assert vrfy("Once@FOO.example") == "250 2.1.5 <once@foo.example>"
    assert vrfy("once") == "250 2.1.5 <once@foo.example>"


def test_vrfy_of_a_local_part_in_several_domains_is_ambiguous() -> None:
    assert vrfy("both").startswith("553 5.1.4 Ambiguous; Possibilities are / <both@")


def test_vrfy_of_a_list_verifies_no_members() -> None:
    """RFC 5321 §3.5.1."""
    assert vrfy("sales@foo.example") == "252 2.1.5 Unable to verify members of mailing list"


def test_vrfy_of_a_circle() -> None:
    assert vrfy("round@foo.example").startswith("550 5.4.6")


@pytest.mark.parametrize("text", ["Crispin", "nobody@foo.example", "Smith", "sales"])
def test_a_stranger_learns_nothing_from_vrfy(text: str) -> None:
    """RFC 5321 §7.3."""
    assert vrfy(text, ip="203.0.113.9").startswith("252 ")


def test_a_stranger_is_told_when_the_operator_wants_it() -> None:
    assert vrfy("Crispin", policy(verify_for=Whom.ANYBODY), "203.0.113.9").startswith("250 ")
    assert expn("sales", policy(expand_for=Whom.ANYBODY), "203.0.113.9").startswith("250 ")


@pytest.mark.parametrize("text", ["sales", "sales@foo.example", "<sales@second.example>"])
def test_expn_lists_one_mailbox_a_line(text: str) -> None:
    which = policy()
    verdict = which.expand(which.client("127.0.0.1"), text)
    assert verdict.reply.wire == b"250-2.1.5 Joe Smith <jsmith@foo.example>\r\n250 2.1.5 <bob@else.example>\r\n"


def test_expn_of_no_list() -> None:
    assert expn("nothing") == "550 5.1.1 No such mailing list here"
    assert expn("crispin") == "550 5.1.1 That is a user name, not a mailing list"
    assert expn("x@caught.example").startswith("250 ") or expn("x@caught.example").startswith("550 ")


def test_expn_of_somebody_who_moved() -> None:
    assert expn("moved@foo.example").startswith("551 5.1.6")


def test_expn_of_a_circle() -> None:
    assert expn("round@foo.example").startswith("550 5.4.6")


def test_expn_does_not_exist_for_strangers() -> None:
    assert expn("sales", ip="203.0.113.9").startswith("502 5.5.1")


UTF8 = {
    "uwe": parse_entry("uwe", "Uwe Müller <üwe@foo.example>"),
    "jorg": parse_entry("jorg", "Jörg Smith <jorg@foo.example>"),
    "karl": parse_entry("karl", "Karl Smith <kärl@foo.example>"),
}


def in_utf8() -> Policy:
    forward = {
        "gone": "wég@else.example",
        "moved": Forward(refer=Address("wég", "else.example")),
        "all": ["bob@else.example", "jorg@foo.example", "ann@bücher.example"],
        "half": ["bob@else.example", "jorg@foo.example"],
    }
    return Policy(PolicySettings(domains=("foo.example",), directory=tuple(UTF8.values()), forward=entries(forward)))


@pytest.mark.parametrize(
    ("text", "wide", "narrow"),
    [
        ("uwe", "250 2.1.5 Uwe Müller <üwe@foo.example>", "252 2.6.8"),
        ("jorg", "250 2.1.5 Jörg Smith <jorg@foo.example>", "250 2.1.5 <jorg@foo.example>"),
        ("gone", "251 2.1.5 User not local; will forward to <wég@else.example>", "252 2.6.8"),
        ("moved", "551 5.1.6 User not local; please try <wég@else.example>", "553 5.6.8"),
        ("Smith", "553 5.1.4 Ambiguous; Possibilities are", "553 5.6.8"),
    ],
)
def test_vrfy_tells_no_mailbox_but_as_it_is(text: str, wide: str, narrow: str) -> None:
    """RFC 6531 §3.7.4.2.  Scar: ``<?we@foo.example>`` is an address too, and it was said to be Uwe's."""
    which = in_utf8()
    client = which.client("127.0.0.1")
    assert str(which.verify(client, text, True).reply).startswith(wide)
    told = which.verify(client, text, False).reply
    assert str(told).startswith(narrow) and told.wire == told.encode()


def test_expn_tells_no_mailbox_but_as_it_is() -> None:
    """RFC 6531 §3.7.4.2."""
    which = in_utf8()
    client = which.client("127.0.0.1")
    assert "<ann@bücher.example>" in str(which.expand(client, "all", True).reply)
    assert str(which.expand(client, "all", False).reply).startswith("550 5.6.8")
    assert str(which.expand(client, "moved", False).reply).startswith("550 5.6.8")
    assert str(which.expand(client, "half", False).reply) == "250 2.1.5 <bob@else.example> / <jorg@foo.example>"


POSTMASTERS = ["postmaster", "<Postmaster>", "postmaster@foo.example", "POSTMASTER@second.example"]


@pytest.mark.parametrize("text", POSTMASTERS)
def test_postmaster_is_never_denied(text: str) -> None:
    """RFC 5321 §4.5.1, §3.5.3: RCPT takes it, with and without a domain, whatever the lists and forwards say."""
    assert vrfy(text) == f"252 2.1.5 {reply.CANNOT_VERIFY.lines[0]}"
    assert vrfy(text, Policy(PolicySettings("here.example", directory=DIRECTORY))).startswith("252 ")
    moved = Forward(refer=Address("bob", "else.example"))
    for target in ("bob@else.example", moved, "postmaster@foo.example", "round@foo.example"):
        forward = entries({"postmaster": target, "round": "postmaster@foo.example", "@foo.example": "all@else.example"})
        which = Policy(PolicySettings("here.example", domains=("foo.example", "second.example"), forward=forward))
        assert vrfy(text, which)[0] == "2", target


def test_postmaster_is_told_as_others_where_somebody_is_known() -> None:
    forwarded = {"domains": ("foo.example",), "forward": entries({"postmaster": "bob@else.example"})}
    told = vrfy("postmaster", Policy(PolicySettings(**forwarded)))
    assert told == "251 2.1.5 User not local; will forward to <bob@else.example>"
    named = parse_entry("pm", "Ann <postmaster@foo.example>")
    assert vrfy("pm", Policy(PolicySettings(domains=("foo.example",), directory=(named,)))).startswith("250 2.1.5 Ann")
    everything = {"domains": ("foo.example",), "forward": entries({"@foo.example": "all@else.example"})}
    assert vrfy("postmaster", Policy(PolicySettings(**everything))).startswith("252 "), "a catch-all is not for it"


def test_an_answer_cannot_hold_a_line_end() -> None:
    entry = parse_entry("x", "Ann\r\n250 Forged <ann@foo.example>")
    which = Policy(PolicySettings(directory=(entry,)))
    assert which.verify(which.client("127.0.0.1"), "x").reply.wire.count(b"\r\n") == 1


@pytest.mark.parametrize("text", ["Mark Crispin", "Mark <>", "Mark <Postmaster>", "<a@b.example", ""])
def test_an_entry_without_a_mailbox_is_a_fault(text: str) -> None:
    with pytest.raises(AddressFault):
        parse_entry("x", text)


def test_the_keys_of_forward_are_those_of_the_list() -> None:
    assert [entry_key(key) for key in FORWARD][2] == "sales"
