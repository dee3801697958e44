"""The tail of a journey: the last attempt, and nobody in it whom the sender need not know of."""

from __future__ import annotations

from relay.message import journey
from relay.message.account import Account
from relay.message.journey import Entry
from relay.message.reply import Reply, reply
from relay.message.tail import is_attempt, numbers_in, tail

AT = 1_795_453_800.0
HOP = "mx.example.net [192.0.2.7]"

GROUP = b"MAIL FROM:<ann@x.example>\r\nRCPT TO:<bob@y.example>\r\nRCPT TO:<eve@z.example> NOTIFY=NEVER\r\nDATA\r\n"
SAID: list[bytes | Reply | str] = [
    GROUP,
    reply(250, "2.1.0", "ok"),
    reply(550, "5.1.1", "no such user"),
    reply(250, "2.1.5", "ok, eve@z.example"),
    reply(354, "", "go"),
    b".\r\n",
    reply(250, "2.0.0", "taken"),
]


def entry(at: float, *numbers: int, said: list[bytes | Reply | str] = SAID, hop: str = HOP) -> Entry:
    account = Account(at - 1)
    account.add(hop, "", [(at, one) for one in said])
    became = [journey.became(number, f"r{number}@y.example", "failed", "550 no", hop) for number in numbers]
    return at, journey.attempted(account, at, "d", became)


def lines(
    *entries: Entry, numbers: tuple[int, ...] = (0,), addresses: tuple[str, ...] = ("bob@y.example",)
) -> list[str]:
    return [line for said in tail(entries, numbers, addresses) for line in said.lines]


def test_the_other_recipients_of_the_transaction_are_left_out() -> None:
    """They may stand behind a forwarded address."""
    assert lines(entry(AT, 0, 1)) == [
        "> MAIL FROM:<ann@x.example>",
        "> RCPT TO:<bob@y.example>",
        "> DATA",
        "< 250 2.1.0 ok",
        "< 550 5.1.1 no such user",
        "< 354 go",
        "> .",
        "< 250 2.0.0 taken",
    ]


def test_who_is_alone_hears_all_of_it() -> None:
    assert len(lines(entry(AT, 0), addresses=("bob@y.example", "eve@z.example"))) == 10


def test_replies_of_several_lines_are_one_reply() -> None:
    said: list[bytes | Reply | str] = [
        b"RCPT TO:<eve@z.example>\r\n",
        reply(550, "5.1.1", "eve", "is away"),
        b"RCPT TO:<bob@y.example>\r\n",
        reply(550, "5.1.1", "so", "is he"),
    ]
    assert lines(entry(AT, 0, said=said)) == ["> RCPT TO:<bob@y.example>", "< 550-5.1.1 so", "< 550 5.1.1 is he"]


def test_lmtp_answers_for_the_others_are_left_out_where_they_name_them() -> None:
    """RFC 2033 §4.2: one reply a recipient, after the content."""
    said = [*SAID[:-1], reply(250, "2.1.5", "EVE@z.example saved"), reply(452, "4.2.2", "bob@y.example over quota")]
    assert lines(entry(AT, 0, 1, said=said))[-2:] == ["> .", "< 452 4.2.2 bob@y.example over quota"]


def test_an_address_that_ends_like_another_is_not_that_one() -> None:
    said: list[bytes | Reply | str] = [b"RCPT TO:<bob@y.example>\r\nRCPT TO:<jbob@y.example>\r\n"]
    assert lines(entry(AT, 0, said=said), addresses=("jbob@y.example",)) == ["> RCPT TO:<jbob@y.example>"]


def test_where_it_was_cut_only_what_names_them_is_told() -> None:
    """Which reply was whose cannot be counted any more."""
    said: list[bytes | Reply | str] = [GROUP, reply(550, "5.1.1", "<bob@y.example> unknown"), reply(550, "5.1.1", "x")]
    said += [f"{number} " + "x" * 500 for number in range(400)]
    told = lines(entry(AT, 0, 1, said=said))
    assert told == ["> RCPT TO:<bob@y.example>", "< 550 5.1.1 <bob@y.example> unknown"]


def test_the_last_attempt_of_each_the_latest_first() -> None:
    first, second, third = (entry(AT + at, *who, hop=f"h{at}") for at, who in ((0, (0, 1)), (5, (0,)), (9, (2,))))
    assert [said.hop for said in tail([first, second, third], (0, 1, 2), ("bob@y.example",))] == ["h9", "h5", "h0"]
    assert [said.hop for said in tail([third, second, first], (0,), ("bob@y.example",))] == ["h5"]
    assert [said.at for said in tail([first], (1,), ("bob@y.example",))] == [AT]


def test_other_entries_say_nothing() -> None:
    other = AT, journey.changed("held", "ann", "x", (0,))
    assert not is_attempt(other)
    assert lines(other, entry(AT, 5)) == []
    assert numbers_in([other, entry(AT, 5, 6)]) == {5, 6}
    assert lines((AT, b'["attempted",broken')) == []
