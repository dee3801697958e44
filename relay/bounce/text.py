"""The part of a report that people read (RFC 6522 §3).

It answers, in this order: which message, which recipients, what happened, whose words those are and what they
were, and what to do now.  Recipients with the same story stand together, so that it is told once.  At the end, for who
is asked for help, stands what the servers said to each other.

The rule that must not be broken: a peer's words stand indented, under a line that says whose they are, and none of
their lines begins but with ours; they can look neither like ours nor like a command to a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from relay.bounce.facts import Facts
from relay.bounce.fields import status
from relay.bounce.words import meaning, spell
from relay.message.envelope import Recipient
from relay.message.outcome import Action, Final
from relay.message.reply import printable
from relay.message.trace import date

_WIDTH = 72
_STORIES_LIMIT = 50
_ADDRESSES_LIMIT = 100  # in one story; all of them stand in the part for programs
_SAID_LINES_LIMIT = 30
_SAID_LIMIT = 2048  # characters

Story = tuple[Final, list[str]]


def text(facts: Facts) -> str:
    """The whole part, lines ending with CRLF."""
    lines = [*_about_the_message(facts)]
    for action in Action:
        stories = _stories(facts, action)
        if stories:
            lines += ["", *_opening(facts, action, sum(len(addresses) for _, addresses in stories))]
            for story in stories[:_STORIES_LIMIT]:
                lines += ["", *_told(facts, *story)]
            if len(stories) > _STORIES_LIMIT:
                lines += ["", f"... and {sum(len(a) for _, a in stories[_STORIES_LIMIT:])} more recipients."]
    lines += ["", *_closing(facts), *_said(facts)]
    return "\r\n".join(lines) + "\r\n"


def _about_the_message(facts: Facts) -> Iterator[str]:
    if facts.is_to_postmaster:
        yield from wrap(
            f"This is the mail server {facts.hostname}. A message without a sender, in most cases a report like this "
            "one, could not be delivered. There is nobody to send it back to, so the postmaster gets it:",
            _WIDTH,
        )
    else:
        yield from wrap(f"This is the mail server {facts.hostname}, with news of a message of yours:", _WIDTH)
    yield ""
    if facts.original.subject:
        yield f"    Subject:   {_cut(facts.original.subject, _WIDTH - 15)}"
    yield f"    Received:  {date(facts.message.accepted_at)}"
    yield f"    Known as:  {printable(facts.message.id)}"


def _opening(facts: Facts, action: Action, count: int) -> list[str]:
    whom = "this recipient" if count == 1 else f"these {count} recipients"
    match action:
        case Action.FAILED:
            said = f"It could NOT be delivered to {whom}, and will not be tried again:"
        case Action.DELAYED:
            left = ""
            if facts.retry_until is not None:
                left = f" until {date(facts.retry_until)}, {spell(facts.retry_until - facts.now)} from now"
            said = (
                f"It has NOT YET been delivered to {whom}. It is still being tried{left}. "
                "You need do nothing, and should not send it again:"
            )
        case Action.DELIVERED:
            said = f"It has been delivered to {whom}:"
        case Action.RELAYED:
            said = (
                f"For {whom} it was passed on to the next server, which gives no reports of success; "
                "you will hear of it only if it fails there:"
            )
        case Action.EXPANDED:
            said = f"It was delivered to {whom} and from there sent on to others, who may answer for themselves:"
    return wrap(said, _WIDTH)


def _stories(facts: Facts, action: Action) -> list[Story]:
    """What became of whom: one story for all recipients of whom the same was said."""
    stories: dict[tuple[object, ...], Story] = {}
    for recipient, final in facts.finals:
        if final.action is action:
            story = (final.hop, final.status, final.reply, final.said)
            stories.setdefault(story, (final, []))[1].append(_named(recipient))
    return list(stories.values())


def _named(recipient: Recipient) -> str:
    shown = f"<{printable(str(recipient.address))}>"
    if recipient.orcpt is None or not recipient.orcpt_is_ours:
        return shown
    return f"{shown} (forwarded from <{printable(recipient.orcpt.partition(';')[2])}>)"


def _told(facts: Facts, final: Final, addresses: list[str]) -> Iterator[str]:
    yield from addresses[:_ADDRESSES_LIMIT]
    if len(addresses) > _ADDRESSES_LIMIT:
        yield f"... and {len(addresses) - _ADDRESSES_LIMIT} more"
    understood = meaning(status(final))
    if final.action in (Action.FAILED, Action.DELAYED):
        yield ""
        yield from _indented(_expiry(facts, final) + understood.what, 4)
    if final.reply:
        yield ""
        yield from _indented(_whose_words(facts, final), 4)
        yield f"    on {date(final.at)}:"
        yield ""
        for line in facts.reply_of(final):
            yield from _indented(line, 8)
    if final.action is Action.FAILED and not facts.is_to_postmaster:
        yield ""
        yield from _indented(f"What you can do: {understood.advice}", 4)


def _expiry(facts: Facts, final: Final) -> str:
    """RFC 3464 §2.3.3: a failure with a temporary code means that we have given up trying."""
    if final.action is not Action.FAILED or not (final.status.startswith("4.") or final.status.endswith(".4.7")):
        return ""
    return f"It was tried for {spell(final.at - facts.message.accepted_at)}, each time in vain. "


def _whose_words(facts: Facts, final: Final) -> str:
    if not final.hop:
        return f"This server, {facts.hostname}, found"
    return f"{printable(final.hop)} answered" if final.said else f"{printable(final.hop)} was tried"


def _closing(facts: Facts) -> list[str]:
    given_back = "your message" if facts.original.whole is not None else "the header section of your message"
    if facts.is_to_postmaster:
        return wrap("The same for programs follows, then the message or its header section.", _WIDTH)
    return wrap(
        f"The same for programs follows, then {given_back}. If you need help, send all of it to "
        f"<postmaster@{facts.hostname}>.",
        _WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _said(facts: Facts) -> list[str]:
    """What the servers said to each other the last time; of much, the end, for there stands why."""
    lines: list[str] = []
    for one in reversed(facts.said):  # the latest attempt stands first
        head = f"with {printable(one.hop)}, at {date(one.at)}:" if one.hop else f"at {date(one.at)}:"
        lines += [head, *(f"    {_cut(printable(line), _WIDTH - 4)}" for line in one.lines)]
    if not lines:
        return []
    kept: list[str] = []
    room = _SAID_LIMIT
    for line in reversed(lines):
        room -= len(line) + 2
        if room < 0 or len(kept) == _SAID_LINES_LIMIT:
            kept.append("...")
            break
        kept.append(line)
    return ["", "What the servers said to each other the last time:", "", *(f"    {line}" for line in reversed(kept))]


def _indented(said: str, depth: int) -> list[str]:
    indent = " " * depth
    return wrap(said, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _cut(said: str, room: int) -> str:
    return said if len(said) <= room else said[: room - 3] + "..."
