"""A listener as it is now, for one session that only asks: the same rules, limits, logins and TLS, and a queue that
keeps nothing.

What the real one counts (connections, failed logins) is copied, so that the answer is the one of now and the count
stays what it was.  Time stands still, but for answers that are held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.message.address import Address
from relay.message.envelope import Envelope, Message, Notify, Origin, Recipient
from relay.message.journey import Entry
from relay.message.step import tell_nobody
from relay.operate.explaining.certificate import NO_CERTIFICATE, Pretended
from relay.policy.client import Client
from relay.policy.content import HeaderWatch
from relay.policy.policy import Policy, Service
from relay.policy.verdict import Verdict
from relay.queue.store import Draft, Store
from relay.receive.attendance import Attendance
from relay.receive.factory import SmtpServerFactory

QUEUE_ID = "rehearsed"


class Overheard(Policy):
    """A policy whose verdicts are written down.

    verdicts  as they were given
    """

    @staticmethod
    def of(policy: Policy) -> Overheard:
        """Answers as this policy does, whatever its own class may override."""
        return cast(Overheard, _overheard(cast(Any, type(policy)))(policy))

    def __init__(self, policy: Policy) -> None:
        vars(self).update(vars(policy))  # the very tables: a million domains are not read again
        self.verdicts: list[Verdict] = []

    def sender(self, client: Client, service: Service, reverse_path: Address | None) -> Verdict:
        return self._heard(super().sender(client, service, reverse_path))

    def recipient(
        self,
        client: Client,
        service: Service,
        address: Address,
        notify: Notify | None = None,
        orcpt: str | None = None,
        smtputf8: bool = True,
    ) -> Verdict:
        return self._heard(super().recipient(client, service, address, notify, orcpt, smtputf8))

    def content(self, watch: HeaderWatch) -> Verdict:
        return self._heard(super().content(watch))

    def _heard(self, verdict: Verdict) -> Verdict:
        self.verdicts.append(verdict)
        return verdict


@lru_cache(16)
def _overheard(policy: Any) -> Any:
    """The class of a policy, overheard; made once of each."""
    return type(Overheard.__name__, (Overheard, policy), {})


class _NoDraft:
    """Takes content, and forgets it."""

    id = QUEUE_ID

    def write(self, data: bytes) -> None:
        """It is gone."""

    def abort(self) -> None:
        """There is nothing to be forgotten."""


class _Nowhere:
    def begin(self) -> Draft:
        return cast(Draft, _NoDraft())


def flush_nothing(domain: str, subdomains: bool) -> Deferred[int | None]:
    """Fits relay.receive.settings.Flush."""
    return succeed(None)


def enqueue_nothing(
    draft: Draft,
    envelope: Envelope,
    origin: Origin,
    head: bytes,
    recipients: Sequence[Recipient],
    expanded: Sequence[Recipient] = (),
    entries: Sequence[Entry] = (),
) -> Deferred[Message]:
    """Fits relay.receive.settings.Enqueue."""
    return succeed(Message(draft.id, envelope, origin, 0.0, head, b"", len(head)))


NOWHERE = cast(Store, _Nowhere())
"""Of a store, what a listener uses; it keeps nothing."""


class Rehearsal:
    """See the module.

    factory  for one Visit
    policy   what it said
    clock    the time of this session
    """

    def __init__(self, of: SmtpServerFactory, attendance: Attendance, certificate: Pretended = NO_CERTIFICATE) -> None:
        """attendance   of the real listeners, as it is now
        certificate  what the client shows when TLS begins
        """
        house = of.house
        self.clock = Clock()
        self.clock.advance(house.clock.seconds())
        self.policy = Overheard.of(house.policy)
        self.attendance = attendance.copy()
        self.factory = SmtpServerFactory(
            clock=self.clock,
            settings=house.settings,
            policy=self.policy,
            store=NOWHERE,
            enqueue=enqueue_nothing,
            flush=flush_nothing,
            service=house.service,
            tell=tell_nobody,
            counts=house.counts,
            has_room=house.has_room,
            attendance=self.attendance,
            entrance=house.entrance,
            tls=house.tls,
            logins=house.logins.rehearsed(self.clock, tell_nobody) if house.logins is not None else None,
            trusted_certificates=certificate.judged_by(house.trusted_certificates),
        )
