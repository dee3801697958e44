"""The list of the addresses that exist."""

from __future__ import annotations

import pytest

from relay.message.address import Address, parse_mailbox
from relay.policy.policy import Policy, PolicySettings, Service
from relay.policy.recipients import RecipientsFault, parse_recipients
from relay.policy.verdict import Accepted, Refused

LIST = """\
# who lives here
ann@ours.example
Bob@Ours.Example   # since May
sales

@open.example
"""


def listed(text: str | None = LIST) -> Policy:
    which = Policy(PolicySettings(domains=("ours.example", "second.example", "open.example"), recipients_listed=True))
    which.recipients = parse_recipients(text, "/etc/recipients") if text is not None else None
    return which


def code(which: Policy, address: str) -> int:
    return which.recipient(which.client("203.0.113.9"), Service.RELAY, parse_mailbox(address)).reply.code


@pytest.mark.parametrize(
    "address",
    [
        "ann@ours.example",
        "ANN@ours.example",
        "bob@ours.example",
        "sales@ours.example",
        "sales@second.example",
        "x@open.example",
    ],
)
def test_a_listed_address_is_accepted(address: str) -> None:
    assert code(listed(), address) == 250


@pytest.mark.parametrize(
    "address",
    ["eve@ours.example", "ann@second.example", '"ann@ours.example"@second.example', '"@open.example"@ours.example'],
)
def test_an_address_that_is_not_listed_does_not_exist(address: str) -> None:
    which = listed()
    verdict = which.recipient(which.client("127.0.0.1"), Service.RELAY, parse_mailbox(address))
    assert isinstance(verdict, Refused)
    assert str(verdict.reply) == "550 5.1.1 No such user here"


def test_the_place_of_a_listed_address_is_its_line() -> None:
    which = listed()
    verdict = which.recipient(which.client("203.0.113.9"), Service.RELAY, Address("bob", "ours.example"))
    assert isinstance(verdict, Accepted)
    assert (verdict.rule, verdict.place) == ("accept.recipients", "/etc/recipients:3")


def test_before_the_list_was_read_nobody_can_be_judged() -> None:
    """Trouble of our own is 4yz: a 550 would make the sender bounce for our missing file."""
    verdict = listed(None).recipient(listed(None).client("203.0.113.9"), Service.RELAY, Address("ann", "ours.example"))
    assert (verdict.reply.code, verdict.reply.enhanced) == (450, "4.2.1")


def test_the_list_does_not_judge_foreign_addresses() -> None:
    which = listed()
    assert which.recipient(which.client("127.0.0.1"), Service.RELAY, Address("x", "else.example")).reply.code == 250


def test_every_bad_line_is_told_with_its_number() -> None:
    with pytest.raises(RecipientsFault) as caught:
        parse_recipients("ann@ours.example\nann@@x\n\n@\nbob smith\n")
    assert [fault.line for fault in caught.value.faults] == [2, 4, 5]


def test_a_quoted_local_part_is_listed_by_its_meaning() -> None:
    assert parse_recipients('"john doe"@ours.example\n"x y"\n').find(Address("John Doe", "ours.example")) == 1
    assert parse_recipients('"x y"').find(Address("x y", "anywhere.example")) == 1
