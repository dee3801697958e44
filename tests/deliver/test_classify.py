"""What a reply, or its absence, means: the table of relay.deliver.classify, row by row."""

from __future__ import annotations

import pytest

from relay.deliver.classify import (
    milder,
    of_the_message_alone,
    our_trouble,
    outcome_of,
    says_too_many,
    session_refused,
    to_keep,
    unreachable,
)
from relay.message.outcome import Deferred, Delivered, Failed
from relay.message.reply import LOCAL_ERROR, Reply, reply
from relay.smtp.client_events import SessionEnded
from relay.smtp.replies import reply_of_line
from relay.smtp.transaction import Answer, Step

HOP = "mx.example [192.0.2.1]"
OF_MESSAGE = (Step.MAIL, Step.RECIPIENT, Step.DATA, Step.CHUNK, Step.END)


def outcome(answer: Answer) -> Delivered | Deferred | Failed:
    found = outcome_of(answer, HOP, dsn=False, final=False)
    assert isinstance(found, (Delivered, Deferred, Failed))
    return found


@pytest.mark.parametrize("step", OF_MESSAGE)
@pytest.mark.parametrize("code", [450, 451, 452, 455, 499])
def test_4yz_is_tried_again(step: Step, code: int) -> None:
    found = outcome(Answer(step, Reply(code, "", ("no",))))
    assert isinstance(found, Deferred) and not found.whole_destination and not found.in_doubt


@pytest.mark.parametrize("step", OF_MESSAGE)
@pytest.mark.parametrize("code", [500, 501, 503, 521, 550, 553, 554, 555, 556, 571])
def test_5yz_is_final(step: Step, code: int) -> None:
    assert isinstance(outcome(Answer(step, Reply(code, "", ("no",)))), Failed)


@pytest.mark.parametrize("step", OF_MESSAGE)
@pytest.mark.parametrize("code", [530, 534, 535, 538])
def test_a_wrong_password_of_ours_bounces_nobodys_mail(step: Step, code: int) -> None:
    """RFC 4954 §6; a smart host whose password changed must not cost the queue."""
    found = outcome(Answer(step, Reply(code, "5.7.0", ("no",))))
    assert isinstance(found, Deferred) and found.whole_destination and found.lasting


def test_who_was_refused_a_login_does_not_try_again_at_once() -> None:
    """Providers count failed logins, and lock the account."""
    for step in (Step.AUTH, Step.CREDENTIALS):
        for said in (Reply(535, "5.7.8", ("no",)), Reply(454, "4.7.0", ("later",)), None):
            assert session_refused(SessionEnded(step, said, "why"), "hop").lasting
    for step in (Step.GREETING, Step.HELLO, Step.STARTTLS, Step.HANDSHAKE):
        assert not session_refused(SessionEnded(step, None, "why"), "hop").lasting


@pytest.mark.parametrize("step", [*OF_MESSAGE, Step.CONTENT])
def test_silence_is_in_doubt_only_after_the_end(step: Step) -> None:
    """RFC 1047."""
    found = outcome(Answer(step, None, "lost"))
    assert isinstance(found, Deferred)
    assert found.in_doubt == (step is Step.END)
    assert found.whole_destination == (step is Step.MAIL)
    assert found.reply.is_temporary


@pytest.mark.parametrize(
    ("step", "said", "too_many"),
    [
        (Step.RECIPIENT, reply(452, "4.5.3", ""), True),
        (Step.RECIPIENT, reply(452, "", ""), True),
        (Step.RECIPIENT, reply(552, "", ""), True),
        (Step.RECIPIENT, reply(552, "5.5.3", ""), True),
        (Step.RECIPIENT, reply(552, "5.2.2", ""), False),
        (Step.RECIPIENT, reply(452, "4.2.2", ""), False),
        (Step.RECIPIENT, reply(450, "", ""), False),
        (Step.END, reply(452, "", ""), False),
        (Step.END, reply(552, "", ""), False),
    ],
)
def test_too_many_recipients(step: Step, said: Reply, too_many: bool) -> None:
    """RFC 5321 §4.5.3.1.10."""
    assert says_too_many(Answer(step, said)) is too_many
    if too_many:
        assert isinstance(outcome(Answer(step, said)), Deferred)


@pytest.mark.parametrize(
    ("code", "enhanced"),
    [(250, "2.0.0"), (450, "4.2.0"), (451, "4.3.0"), (452, "4.3.1"), (550, "5.0.0"), (553, "5.1.3"), (599, "5.0.0")],
)
def test_what_is_kept_has_an_enhanced_code(code: int, enhanced: str) -> None:
    """RFC 3464 §2.3.4 wants a Status; X.0.0 where the code says no more."""
    assert to_keep(Reply(code, "", ("text",))).enhanced == enhanced


def test_what_is_kept_is_short() -> None:
    """It is written into the queue for each recipient."""
    kept = to_keep(Reply(550, "5.1.1", ("x" * 1500,) * 100))
    assert sum(map(len, kept.lines)) == 2000
    assert len(to_keep(Reply(550, "5.1.1", ("x" * 9000,))).lines[0]) == 2000
    assert to_keep(Reply(550, "5.1.1", ("a", "b"))).lines == ("a", "b")


def test_of_two_answers_the_one_about_the_message_stays() -> None:
    about_message, about_host = Deferred(LOCAL_ERROR), Deferred(LOCAL_ERROR, whole_destination=True)
    failed = Failed(reply(550, "5.1.1", "no"))
    assert milder(about_message, about_host) is about_message
    assert milder(about_host, about_message) is about_message
    assert milder(None, about_host) is about_host
    assert milder(about_message, failed) is failed


def test_only_what_a_host_has_said_is_called_so() -> None:
    """A report tells by it whose words they are; an enhanced code that is missing is ours."""
    refused = reply_of_line(b"550 no user\r\n")
    assert outcome(Answer(Step.RECIPIENT, refused)).reply.said == ("550 no user",)
    assert session_refused(SessionEnded(Step.GREETING, refused), "hop").reply.said == ("550 no user",)
    ours = [
        outcome(Answer(Step.RECIPIENT, None, "lost")),
        *(session_refused(SessionEnded(step, None, "why"), "hop") for step in (Step.HELLO, Step.STARTTLS, Step.AUTH)),
        unreachable("refused", "hop"),
        of_the_message_alone(unreachable("refused", "hop")),
        our_trouble("why"),
    ]
    assert [one.reply.said for one in ours] == [()] * len(ours)
    assert refused.saying("other words").said == ()


def test_of_what_a_host_has_said_the_beginning_is_kept() -> None:
    lines = (f"550-5.1.1 {'x' * 101}",) * 128
    kept = to_keep(Reply(550, "5.1.1", ("x" * 101,) * 128, lines))
    assert sum(map(len, kept.said)) <= 2000 and kept.said[0] == lines[0]
    assert all(line.startswith("550-") for line in kept.said)
