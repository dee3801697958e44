"""Handing a message over: from standard input into the maildrop.

The rule that must not be broken: nothing is sent in part.  A recipient that is not understood, a message that is too
large, a disk that is full: then nothing was left, and the caller hears of it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from relay.message.address import Address, AddressFault, parse_mailbox
from relay.message.envelope import Body, Envelope, Recipient
from relay.message.mailboxes import MailboxesFault, addresses
from relay.operate.sendmail import letter, text
from relay.operate.sendmail.flags import UsageFault, Wishes
from relay.operate.sendmail.knowing import Known
from relay.receive.maildrop.drop import Drop
from relay.receive.maildrop.leaving import Leaving

READ_OCTETS = 64 * 1024
HEADER_LIMIT_OCTETS = 256 * 1024

Read = Callable[[int], bytes]
"""At most so many octets of the input; none at its end."""


class InputFault(Exception):
    """The message cannot be taken as it is; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class LocalUser:
    """Who calls."""

    name: str
    full_name: str


def this_user() -> LocalUser:
    """The user of this process, as the system knows it."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return LocalUser(f"uid-{uid}", "")
    return LocalUser(entry.pw_name, entry.pw_gecos.partition(",")[0].replace("&", entry.pw_name.capitalize()))


def own_address(user: LocalUser, domain: str) -> Address:
    """The user's own.  Raises InputFault when there can be none."""
    try:
        return parse_mailbox(str(Address(user.name, domain)))
    except AddressFault as fault:
        raise InputFault(f"the user {user.name!a} has no address: {fault}") from None


def hand_over(wishes: Wishes, known: Known, user: LocalUser, read: Read) -> str:
    """Leaves the message that ``read`` gives, and returns its name there when it is safe.

    Raises UsageFault, InputFault, relay.receive.maildrop.leaving.CannotLeave.
    """
    lines = text.Lines(dot_ends=not wishes.ignore_dots)
    head, rest = _head(lines, read)
    fields = text.fields(head)
    to = _recipients(wishes, fields, known)
    sender = _sender(wishes, known, user)
    writer = _writer(wishes, known, user, sender)
    leaving = Leaving(known.maildrop)
    try:
        is_ascii, size = True, 0
        for piece in _content(letter.finished(fields, writer), rest, lines, read):
            is_ascii, size = is_ascii and piece.isascii(), size + len(piece)
            if size > known.size_limit:
                raise InputFault(f"the message has more than {known.size_limit:,} octets (accept.message_size)")
            leaving.write(piece)
        recipients = tuple(Recipient(one, wishes.notify) for one in to)
        leaving.commit(Drop(_envelope(wishes, sender, to, is_ascii), recipients))
    except BaseException:
        leaving.abort()
        raise
    return leaving.name


# -- the text -----------------------------------------------------------------------------------------


def _head(lines: text.Lines, read: Read) -> tuple[bytes, bytes]:
    """The header section, and what came of the body with it."""
    found, seen = None, b""
    while found is None:
        data = b"" if lines.is_over else read(READ_OCTETS)
        seen += lines.feed(data) if data else lines.end()
        found = text.header_end(seen, is_all=not data or len(seen) > HEADER_LIMIT_OCTETS)
    end, begin = found
    if end > HEADER_LIMIT_OCTETS:
        raise InputFault(f"the header section has more than {HEADER_LIMIT_OCTETS:,} octets")
    return seen[:end], seen[begin:]


def _content(header: bytes, rest: bytes, lines: text.Lines, read: Read) -> Iterator[bytes]:
    """All pieces of what is to be sent; the last line has its end."""
    yield header
    last = b"\n"
    while True:
        if rest:
            yield text.body(rest)
            last = rest[-1:]
        if lines.is_over:
            break
        data = read(READ_OCTETS)
        rest = lines.feed(data) if data else lines.end()
        if not data:
            if rest:
                yield text.body(rest)
                last = rest[-1:]
            break
    if last not in (b"\n", b"\r"):
        yield b"\r\n"


# -- the envelope -------------------------------------------------------------------------------------


def _recipients(wishes: Wishes, fields: list[bytes], known: Known) -> list[Address]:
    """Those of the command line, then those of the header section; none twice."""
    found: list[Address] = []
    for word in wishes.recipients:
        try:
            found += addresses(word, known.domain)
        except MailboxesFault as fault:
            raise UsageFault(f"the recipient {word!a}: {fault}") from None
    if wishes.from_header:
        try:
            found += letter.recipients(fields, known.domain)
        except letter.HeaderFault as fault:
            raise InputFault(f"in the header section, {fault}") from None
        if not found:
            raise InputFault("the header section names no recipients in To, Cc or Bcc")
    if not found:
        raise UsageFault("there are no recipients; name them, or take them from the header section with -t")
    return list(dict.fromkeys(found))


def _sender(wishes: Wishes, known: Known, user: LocalUser) -> Address | None:
    if wishes.sender is None:
        return own_address(user, known.domain)
    if not wishes.sender.strip():
        return None
    try:
        found = addresses(wishes.sender, known.domain)
    except MailboxesFault as fault:
        raise UsageFault(f"the sender {wishes.sender!a}: {fault}") from None
    if len(found) != 1:
        raise UsageFault(f"the sender {wishes.sender!a} is not one address")
    return found[0]


def _writer(wishes: Wishes, known: Known, user: LocalUser, sender: Address | None) -> letter.Writer:
    now = time.time()
    return letter.Writer(
        sender=sender,
        address=own_address(user, known.domain),
        full_name=_as_text(user.full_name if wishes.full_name is None else wishes.full_name),
        domain=known.domain,
        hostname=known.hostname,
        date=format_datetime(datetime.fromtimestamp(now).astimezone()),
        token=f"{int(now):x}.{secrets.token_hex(8)}",
    )


def _as_text(word: str) -> str:
    """An argument or a name of the system may be in any encoding."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _envelope(wishes: Wishes, sender: Address | None, to: list[Address], is_ascii: bool) -> Envelope:
    """What the content is was seen, and need not be said."""
    body = Body.SEVENBIT if is_ascii else Body.EIGHTBIT
    needs_utf8 = not all(one.is_ascii for one in (*to, *([sender] if sender is not None else [])))
    return Envelope(sender, body, needs_utf8, wishes.ret, wishes.envid)
