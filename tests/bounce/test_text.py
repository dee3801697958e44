"""The part that people read: one golden look, and the sentences in it."""

from __future__ import annotations

import pytest

from relay.bounce.words import meaning, spell
from relay.message.address import parse_mailbox
from relay.message.outcome import Action
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
