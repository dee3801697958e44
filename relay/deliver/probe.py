"""A probe: a host is asked, as a delivery would ask it, whether it would take a message; none is sent.

It goes by the very pool, guard and session of deliveries, on connections of its own, which are in nobody's way and
count in nobody's limits.  Where the content would begin, it takes leave.

The rule that must not be broken: DATA and BDAT are never said.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.deliver.classify import outcome_of, unreachable, untrusted
from relay.deliver.connection import Connection, Errand, Keeper
from relay.deliver.form import NEEDS_REQUIRETLS, NEEDS_SMTPUTF8, needs_utf8
from relay.deliver.guard import Guards
from relay.deliver.keyring import Keyring
from relay.deliver.letter import Letter
from relay.deliver.opening import Dial
from relay.deliver.pool import Pool
from relay.deliver.pump import Content
from relay.deliver.settings import DeliverySettings
from relay.deliver.tls import Evidence, Judgement
from relay.message.account import Account, Part
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Failed, Outcome
from relay.message.step import tell_nobody
from relay.route.via import Hop
from relay.smtp.transaction import Transaction

ASKED_AT_ONCE = 100
"""Recipients that a host is asked about."""
PATIENCE_S = 40.0
"""How long one host may take for all; a delivery waits for minutes (RFC 5321 §4.5.3.2)."""
LAST_WORDS_S = 6.0


@dataclass(frozen=True, slots=True)
class Probed:
    """What one host made of it.

    outcomes   one for each recipient asked about; Delivered: it would have been asked for the content
    account    what was said, secrets masked
    evidence   what the TLS of the last connection has shown; None without
    judgement  whether that was enough
    """

    outcomes: tuple[Outcome, ...]
    account: Account
    evidence: Evidence | None = None
    judgement: Judgement | None = None

    @property
    def is_decided(self) -> bool:
        """Whether a delivery would not go on to the next host (RFC 5321 §5.1)."""
        return not any(isinstance(one, Deferred) for one in self.outcomes)


class Prober:
    """Probes hosts, one at a time.

    keyring  what to log in with
    """

    def __init__(
        self, *, clock: IReactorTime, dial: Dial, hostname: str, settings: DeliverySettings, keyring: Keyring
    ) -> None:
        self._clock = clock
        self._dial = dial
        self._hostname = hostname
        self._settings = settings
        # What is refused is not told again and again, for nobody but who asks is concerned.
        self._keyring = keyring.apart(random.SystemRandom())

    async def probe(
        self, hop: Hop, addresses: Sequence[str], message: Message, recipients: Sequence[Recipient]
    ) -> Probed:
        """Asks one host; never fails.

        addresses   as for Pool.lease
        message     with its envelope and size; of its content nothing is looked at
        """
        asked = tuple(recipients[:ASKED_AT_ONCE])
        if hop.security.trouble:
            return Probed((untrusted(hop, hop.security),) * len(asked), Account(self._clock.seconds()))
        settings = replace(self._settings, messages_per_connection=1)
        guards = Guards(self._clock, self._keyring, tell_nobody)
        pool = _ProbePool(clock=self._clock, dial=self._dial, hostname=self._hostname, settings=settings, guards=guards)
        began_at = self._clock.seconds()
        visitor = _Visitor(hop, Letter(message, _unopened, self._settings.convert_limit_octets), asked)
        pool.lease(hop, addresses, visitor)
        try:
            outcomes = await visitor.done.addTimeout(PATIENCE_S, self._clock)
        except defer.TimeoutError:
            why = f"no answer within {PATIENCE_S:.0f} s; a delivery waits longer"
            outcomes = [unreachable(why, hop.host)] * len(asked)
            for connection in pool.made:
                connection.abort()
        await pool.stop().addTimeout(LAST_WORDS_S, self._clock).addErrback(_trap_timeout)
        guard = pool.made[-1].guard if pool.made else None
        shown = (guard.evidence, guard.judgement) if guard is not None else (None, None)
        return Probed(tuple(outcomes), visitor.account(began_at, pool.made), *shown)


class _ProbePool(Pool):
    """A Pool that remembers its connections.

    made  in the order in which they were made
    """

    def __init__(
        self, *, clock: IReactorTime, dial: Dial, hostname: str, settings: DeliverySettings, guards: Guards
    ) -> None:
        super().__init__(clock=clock, dial=dial, hostname=hostname, settings=settings, guards=guards)
        self.made: list[Connection] = []

    def build(self, keeper: Keeper, hop: Hop, label: str, *, plain: bool = False) -> Connection:
        connection = super().build(keeper, hop, label, plain=plain)
        self.made.append(connection)
        return connection


class _Visitor:
    """The holder of the one connection that a probe needs.

    done  fires with the outcomes
    """

    def __init__(self, hop: Hop, letter: Letter, recipients: Sequence[Recipient]) -> None:
        self.done: defer.Deferred[list[Outcome]] = defer.Deferred()
        self._hop = hop
        self._letter = letter
        self._message = letter.message
        self._recipients = recipients
        self._said: tuple[Connection, Transaction, int] | None = None  # and how long the session's record was before

    def connected(self, connection: Connection) -> None:
        refusal = self._refusal(connection)
        if refusal is not None:
            connection.release()
            self._tell([refusal] * len(self._recipients))
            return
        offer, envelope = connection.session.offer, self._message.envelope
        assert offer is not None
        transaction = Transaction(
            envelope,
            self._recipients,
            self._message.size,
            smtputf8=envelope.smtputf8 and offer.smtputf8,
            require_tls=envelope.require_tls and offer.requiretls,
            asks_only=True,
        )
        self._said = connection, transaction, len(connection.session.record)
        connection.run(Errand(self, transaction, ()))

    def _refusal(self, connection: Connection) -> Failed | None:
        """Why a delivery would not even begin here."""
        offer, envelope = connection.session.offer, self._message.envelope
        assert offer is not None
        if envelope.require_tls and not offer.requiretls and self._hop.protocol != "lmtp":
            return Failed(NEEDS_REQUIRETLS, connection.label)
        if not offer.smtputf8 and any(needs_utf8(envelope.reverse_path, one.address) for one in self._recipients):
            return Failed(NEEDS_SMTPUTF8, connection.label)
        form = self._letter.form(offer)  # None when only the content would tell
        return Failed(form.reply, connection.label) if isinstance(form, Failed) else None

    def unreachable(self, why: Deferred, said: Sequence[Part] = ()) -> None:
        self._tell([why] * len(self._recipients))

    def wants_more(self, transaction: Transaction) -> bool:
        return False

    def ended(self, connection: Connection, transaction: Transaction, trouble: Exception | None) -> None:
        answers = [one for one in transaction.answers if one is not None]
        outcomes = [outcome_of(one, connection.label, dsn=False, final=False) for one in answers]
        connection.release()
        self._tell(outcomes)

    def _tell(self, outcomes: list[Outcome]) -> None:
        if not self.done.called:
            self.done.callback(outcomes)

    def account(self, began_at: float, connections: Sequence[Connection]) -> Account:
        """What was said over these."""
        account = Account(began_at)
        for connection in connections:
            record = connection.session.record
            if self._said is not None and connection is self._said[0]:
                _, transaction, before = self._said
                for part in (record[:before], transaction.record, record[before:]):
                    account.add(connection.label, "", part)
            else:
                account.add(connection.label, "", record)
        return account


def _unopened(message_id: str) -> Content:
    raise LookupError("a probe looks into no content")


def _trap_timeout(failure: Failure) -> None:
    failure.trap(defer.TimeoutError)
