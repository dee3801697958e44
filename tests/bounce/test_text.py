"""The part that people read: one golden look, and the sentences in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from relay.bounce.words import meaning, spell
from relay.message.address import parse_mailbox
from relay.message.envelope import Composed, Recipient
from relay.message.outcome import Action, Final
from relay.message.tail import Said
from tests.bounce.cases import DAY_S, NOW, a_message, a_reporter, delayed, read, relayed, told

GOLDEN = """\
This is the mail server gateway.example.lan, with news of a message of
yours:

    Subject:   Invoice 4711
    Received:  Wed, 18 Nov 2026 17:10:00 +0000
    Known as:  q1

It could NOT be delivered to these 3 recipients, and will not be tried
again:

<bob@example.net>
<carol@example.net>

    The recipient's mailbox is full.

    mx.example.net [192.0.2.7] answered
    on Mon, 23 Nov 2026 17:09:59 +0000:

        552 5.2.2 Over quota

    What you can do: Tell the recipient in another way, and send it
    again later.

<dave@example.com>

    It was tried for 5 days, each time in vain. The recipient's server
    does not answer.

    This server, gateway.example.lan, found
    on Mon, 23 Nov 2026 17:09:59 +0000:

        451 4.4.1 Connection timed out

    What you can do: Send it again later, or reach the recipient in
    another way.

It has NOT YET been delivered to this recipient. It is still being tried
until Wed, 25 Nov 2026 17:10:00 +0000, 2 days from now. You need do
nothing, and should not send it again:

<eve@example.com>

    The recipient's server does not answer.

    This server, gateway.example.lan, found
    on Mon, 23 Nov 2026 17:09:59 +0000:

        451 4.4.1 Connection timed out

For this recipient it was passed on to the next server, which gives no
reports of success; you will hear of it only if it fails there:

<rita@example.net>

    mx.example.net [192.0.2.7] answered
    on Mon, 23 Nov 2026 17:09:59 +0000:

        250 2.0.0 OK

The same for programs follows, then your message. If you need help, send
all of it to <postmaster@gateway.example.lan>.
"""


def test_what_a_person_reads() -> None:
    """What failed, for whom, whose words those are and when they were said, and what to do now."""
    finals = [
        told("bob@example.net", status="5.2.2", reply="552 5.2.2 Over quota"),
        relayed("rita@example.net"),
        told("carol@example.net", status="5.2.2", reply="552 5.2.2 Over quota"),
        told("dave@example.com", status="4.4.1", reply="451 4.4.1 Connection timed out", hop=""),
        delayed("eve@example.com"),
    ]
    message = a_message(accepted_at=NOW - 5 * DAY_S)
    assert read(a_reporter().compose(message, finals, None, NOW, NOW + 2 * DAY_S)).text == GOLDEN


def test_plain_text_is_us_ascii_in_7bit() -> None:
    """A mail reader from the last century can show it, and so can a person without one."""
    composed = a_reporter().compose(a_message(), [told()], None, NOW)
    assert composed is not None
    assert b"Content-Type: text/plain; charset=us-ascii\r\n\r\nThis is the mail server" in composed.content


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("5.1.1", "address does not exist"),
        ("5.1.10", "takes no mail"),
        ("5.2.2", "mailbox is full"),
        ("5.3.4", "larger than"),
        ("4.4.7", "time for delivering it ran out"),
        ("5.6.7", "SMTPUTF8"),
        ("5.7.1", "A rule of the receiving server"),
        ("5.7.23", "SPF"),
        ("5.7.999", "A rule of the receiving server"),
        ("5.9.9", "does not accept the message"),
        ("", "does not accept the message"),
    ],
)
def test_a_code_is_explained(status: str, said: str) -> None:
    assert said in meaning(status).what


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5 * DAY_S, "5 days"),
        (DAY_S, "1 day"),
        (1.5 * DAY_S, "36 hours"),
        (4 * 3600, "4 hours"),
        (5400, "90 minutes"),
        (60, "1 minute"),
        (1.2, "1 second"),
        (0, "a moment"),
        (-5, "a moment"),
    ],
)
def test_time_is_spelt_as_people_say_it(seconds: float, said: str) -> None:
    assert spell(seconds) == said


def test_a_peers_words_stand_apart_from_ours() -> None:
    """A reply that reads like our own text must not pass for it: indented, under a line that names the speaker."""
    reply = "550 5.1.1 no. What you can do: log in at http://evil.example/ " * 3
    text = read(a_reporter().compose(a_message(), [told(reply=reply)], None, NOW)).text
    spoken = [line for line in text.splitlines() if "evil" in line]
    assert spoken and all(line.startswith("        ") for line in spoken)


def test_the_postmaster_is_not_addressed_as_the_sender() -> None:
    reporter = a_reporter(double_bounce="postmaster", postmaster=parse_mailbox("post@example.org"))
    text = read(reporter.undeliverable(a_message(sender=None), [told()], None, NOW)).text
    assert "so the postmaster gets it" in " ".join(text.split())
    assert "of yours" not in text and "What you can do" not in text


def test_a_long_list_is_cut_for_people() -> None:
    finals = [told(f"r{n}@example.net", Action.FAILED) for n in range(250)]
    text = read(a_reporter().compose(a_message(), finals, None, NOW)).text
    assert "<r99@example.net>\n... and 150 more\n" in text


# -- what the servers said to each other -------------------------------------------------------------


def said(*lines: str, at: float = NOW - 1, hop: str = "mx.example.net [192.0.2.7]") -> Said:
    return Said(at, hop, lines)


def tail_of(*talks: Said, finals: Sequence[tuple[Recipient, Final]] = ()) -> list[str]:
    """The lines of the text from where it is told on."""
    text = read(a_reporter().compose(a_message(), finals or [told()], None, NOW, None, talks)).text
    _, _, tail = text.partition("What the servers said to each other the last time:\n\n")
    return tail.splitlines()


def test_a_report_ends_with_what_was_said() -> None:
    """For who is asked for help: it takes an afternoon of log reading elsewhere."""
    assert tail_of(said("> RCPT TO:<bob@example.net>", "< 550 5.1.1 No such user")) == [
        "    with mx.example.net [192.0.2.7], at Mon, 23 Nov 2026 17:09:59 +0000:",
        "        > RCPT TO:<bob@example.net>",
        "        < 550 5.1.1 No such user",
    ]


def test_of_several_conversations_the_last_stands_last() -> None:
    lines = tail_of(said("< 2", at=NOW, hop="second"), said("< 1", hop="first"), said("* nobody", hop=""))
    assert [line.split(",")[0].strip() for line in lines] == [
        "at Mon",
        "* nobody",
        "with first",
        "< 1",
        "with second",
        "< 2",
    ]


def test_of_much_the_end_is_told() -> None:
    """There stands why.  A report has a bound, whatever a peer says."""
    lines = tail_of(said(*(f"< 250 {number}" for number in range(1000))))
    assert len(lines) == 31
    assert lines[0] == "    ..."
    assert lines[-1].endswith("< 250 999")
    long = tail_of(said(*(f"< 250 {number} {'x' * 2000}" for number in range(100))))
    assert sum(map(len, long)) < 2600
    assert all(len(line) <= 80 for line in long)


def test_nothing_of_a_peer_can_look_like_ours() -> None:
    lines = tail_of(said("< 550 \x1b[31m\r\n\r\nSubject: evil", "* \u202e x"))
    assert all(line.startswith("    ") and line.isprintable() for line in lines)


def test_without_anything_said_there_is_no_such_section() -> None:
    text = read(a_reporter().compose(a_message(), [told()], None, NOW)).text
    assert "said to each other" not in text


def test_a_notice_to_the_postmaster_has_it_too() -> None:
    reporter = a_reporter(double_bounce="postmaster", postmaster=parse_mailbox("admin@example.org"))
    composed = reporter.undeliverable(a_message(sender=None), [told()], None, NOW, [said("< 550 no")])
    assert isinstance(composed, Composed)
    assert b"< 550 no" in composed.content


def test_who_does_not_answer_has_not_answered() -> None:
    reply = "451 4.4.1 connect to it: no answer"
    gone = told("bob@example.net", status="4.4.1", reply=reply, hop="mx.example.net", said=())
    assert "\n    mx.example.net was tried\n    on " in read(a_reporter().compose(a_message(), [gone], None, NOW)).text


def test_a_reply_of_several_lines_has_them_here_too() -> None:
    refused = told(reply="550 5.1.1 No such / user here", said=("550-5.1.1 No such", "550 5.1.1 user here"))
    text = read(a_reporter().compose(a_message(), [refused], None, NOW)).text
    assert "\n\n        550-5.1.1 No such\n        550 5.1.1 user here\n\n" in text
