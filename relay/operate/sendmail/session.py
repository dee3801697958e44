"""``sendmail -bs``: SMTP on standard input and output, by the session that listeners have.

What comes is left in the maildrop, and 250 is said when it is safe there.  Whether its sender and recipients pass is
decided when the relay picks it up; the sender is told in a report of who was refused then.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed

from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.journey import Entry
from relay.message.reply import Reply
from relay.message.step import tell_nobody
from relay.operate.sendmail.knowing import Known
from relay.policy.policy import Policy, PolicySettings, Service
from relay.queue.store import Counts, Draft, NewRecipient, StoreFull, StoreUnavailable
from relay.receive.intake import Intake
from relay.receive.maildrop.drop import Drop, EnvelopeTooLarge
from relay.receive.maildrop.leaving import CannotLeave, Leaving, NotNow
from relay.receive.reception import Reception
from relay.receive.settings import Entrance, Login, ReceiveSettings, always_room, no_reverse_name
from relay.receive.tls import TrustedCertificates
from relay.smtp.server import ServerSession

READ_OCTETS = 64 * 1024


class _Clock:
    def seconds(self) -> float:
        return time.time()


class _LeavingDraft:
    """A draft of the store that goes into the maildrop."""

    def __init__(self, known: Known) -> None:
        self._leaving = _tried(lambda: Leaving(known.maildrop))
        self.id = self._leaving.name

    def write(self, data: bytes) -> None:
        _tried(lambda: self._leaving.write(data))

    def commit(
        self, envelope: Envelope, origin: Origin, head: bytes, recipients: Sequence[NewRecipient], accepted_at: float
    ) -> Deferred[Message]:
        """Without the trace fields: whoever picks it up puts them in front."""
        drop = Drop(envelope, tuple(one.recipient for one in recipients))
        _tried(lambda: self._leaving.commit(drop))
        return succeed(Message(self.id, envelope, origin, accepted_at, b"", None, 0))

    def abort(self) -> None:
        self._leaving.abort()


class _Maildrop:
    """The store, as far as a listener needs it."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def begin(self) -> Draft:
        return cast(Draft, _LeavingDraft(self._known))

    def counts(self) -> Counts:
        return Counts(0, 0, {})


def _tried(do: Any) -> Any:
    """Does it; what goes wrong is the store's trouble.  Raises StoreUnavailable."""
    try:
        return do()
    except NotNow as error:
        raise StoreFull(str(error)) from None
    except (CannotLeave, EnvelopeTooLarge) as error:
        raise StoreUnavailable(str(error)) from None


def _enqueue(
    draft: Draft,
    envelope: Envelope,
    origin: Origin,
    head: bytes,
    recipients: Sequence[Recipient],
    expanded: Sequence[Recipient] = (),
    entries: Sequence[Entry] = (),
) -> Deferred[Message]:
    return draft.commit(envelope, origin, head, [NewRecipient(one, "", 0.0) for one in recipients], time.time())


def _flush(domain: str, subdomains: bool) -> Deferred[int | None]:
    return succeed(None)


def _told(step: str, /, **fields: object) -> None:
    """Trouble is for whoever called; the client is told only 451."""
    if step == "trouble":
        print(f"sendmail: {fields.get('error')}", file=sys.stderr)
    else:
        tell_nobody(step, **fields)


def converse(known: Known, read: Any, write: Any) -> None:
    """Talks until the client has left.

    read   octets of the client, at most so many; none when it has left
    write  octets for the client
    """
    house = _house(known)
    intake = Intake(house, house.policy.client(""))
    session = ServerSession(intake.offer)
    while True:
        _answer_all(session, intake)
        write(session.data_to_send())
        data = b"" if session.closing else read(READ_OCTETS)
        if not data:
            break
        session.receive_data(data)
    session.connection_lost()
    intake.leave()


def _house(known: Known) -> Reception:
    store = cast(Any, _Maildrop(known))
    return Reception(
        cast(Any, _Clock()),
        ReceiveSettings(known.hostname, size_limit_octets=known.size_limit),
        Policy(PolicySettings(known.hostname)),
        store,
        _enqueue,
        _told,
        Service.LOCAL,
        no_reverse_name,
        store.counts,
        _flush,
        always_room,
        Entrance(starttls=False, login=Login.NONE),
        None,
        None,
        TrustedCertificates(),
    )


def _answer_all(session: ServerSession, intake: Intake) -> None:
    """Answers each question; nothing has to be waited for here but the disk."""
    while (event := session.next_event()) is not None:
        answer = intake.answer(event)
        replies: list[Any] = []
        if isinstance(answer, Deferred):
            answer.addBoth(replies.append)
            assert replies, "an answer was not there at once"
            answer = replies[0]
        if isinstance(answer, Reply):
            session.answer(answer)


def write_all(fd: int, data: bytes) -> None:
    """All of it, to a descriptor."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
