"""One attempt to deliver: the hops of the route in order, the recipients that are left, and what became of each.

RFC 5321 §5.1: a host that says 4yz, or cannot be reached, is followed by the next for the recipients that are still
undecided; 5yz is final.  Where the content went out whole and no answer came, no other host is tried: the
message may have been delivered, and a second copy now is worse than a late one (RFC 1047).

The rule that must not be broken: every recipient gets one outcome, whatever happens here; a defect of ours is a
Deferred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.deliver.classify import (
    NEEDS_TLS,
    milder,
    of_the_message_alone,
    our_trouble,
    outcome_of,
    says_too_many,
    untrusted,
)
from relay.deliver.connection import Connection, Errand
from relay.deliver.form import NEEDS_REQUIRETLS, NEEDS_SMTPUTF8, Form, needs_utf8
from relay.deliver.letter import Letter
from relay.message.account import Account, Part, Tried
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Failed, Outcome
from relay.route.router import Addresses, Hops
from relay.route.table import Route
from relay.route.tls import OF_THE_MESSAGE, not_required, required
from relay.route.via import Hop
from relay.smtp.stuffing import StrayLineEnd
from relay.smtp.transaction import Transaction

if TYPE_CHECKING:
    from relay.deliver.deliverer import Deliverer

_log = Logger()
_P = ParamSpec("_P")
_NOWHERE = Hop("", 0)
NOT_VOUCHED_FOR = Failed(NEEDS_TLS.saying("The message says REQUIRETLS, and nothing vouches for the mail host's name"))
_failure_of: Callable[[BaseException], Failure] = Failure  # it has no types of its own


def _is_final(hop: Hop) -> bool:
    """Whether REQUIRETLS ends here: it is about relaying by SMTP, and LMTP is delivery (RFC 8689 §4.4)."""
    return hop.protocol == "lmtp"


def fit_for_require_tls(hops: Sequence[Hop]) -> Sequence[Hop]:
    """Those that may have a message with REQUIRETLS, on its terms (RFC 8689 §4.2.1)."""
    terms = [(hop, hop.security if _is_final(hop) else required(hop.security)) for hop in hops]
    return [replace(hop, security=security) for hop, security in terms if security is not None]


def _guarded(step: Callable[Concatenate[Attempt, _P], None]) -> Callable[Concatenate[Attempt, _P], None]:
    """For what others call: a defect ends the attempt, and does not leave the recipients without an outcome."""

    def guarded(self: Attempt, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            step(self, *args, **kwargs)
        except Exception as defect:
            self.broke(_failure_of(defect))

    return guarded


class Attempt:
    """See the module.  Fires ``done`` with one outcome a recipient, in their order, and the account of it.

    The Holder of a connection at a time.
    """

    __slots__ = (
        "_again",
        "_batch",
        "_connection",
        "_deliverer",
        "_hop",
        "_hops",
        "_left",
        "_letter",
        "_outcomes",
        "_promising",
        "_tried_hops",
        "_was_stale",
        "account",
        "done",
        "message",
        "recipients",
    )

    def __init__(self, deliverer: Deliverer, message: Message, recipients: Sequence[Recipient]) -> None:
        self.message = message
        self.account = Account(deliverer.pool.clock.seconds())
        self.done: defer.Deferred[Tried] | None = defer.Deferred()
        self._deliverer = deliverer
        self.recipients = recipients
        self._outcomes: list[Outcome | None] = [None] * len(recipients)
        self._left = list(range(len(recipients)))  # to be tried at this hop
        self._again: list[int] = []  # to be tried at the next
        self._batch: Sequence[int] = ()  # in the transaction that goes on
        self._hops: Sequence[Hop] = ()
        self._tried_hops = 0
        self._promising = 0  # so many of the hops, from the first on, must promise REQUIRETLS
        self._hop = _NOWHERE
        self._letter: Letter | None = None
        self._connection: Connection | None = None
        self._was_stale = False

    @_guarded
    def start(self, route: Route) -> None:
        self.account.rule = route.rule
        hops = self._deliverer.router.hops_now(route)
        if hops is not None:
            self._routed(hops)
        else:
            self._deliverer.router.hops(route).addCallback(self._routed).addErrback(self.broke)

    def _routed(self, hops: Hops) -> None:
        if not isinstance(hops, tuple):
            self._outcomes = [hops] * len(self.recipients)
            self._finish()
            return
        self._hops = hops[: self._deliverer.settings.hosts_per_attempt]
        if self.message.envelope.require_tls:
            self._hops = hops  # it fails at once, and not before each was asked (RFC 8689 §4.2.1)
            self._require_tls()
        elif any(hop.security.asked_for for hop in self._hops):
            self._letter = letter = self._deliverer.letter(self.message)
            asking = defer.Deferred.fromCoroutine(letter.tls_not_required())
            asking.addCallbacks(self._relax, self._unreadable).addErrback(self.broke)
            return
        self._try_hop()

    def _require_tls(self) -> None:
        """Leaves the hops that may have a message with REQUIRETLS, on its terms (RFC 8689 §4.2.1)."""
        hops = self._hops
        self._hops = fit_for_require_tls(hops)
        self._promising = len(self._hops)
        if self._promising < len(hops):
            self._outcomes = [NOT_VOUCHED_FOR] * len(self.recipients)
        if self.message.envelope.reverse_path is None:
            self._hops = [*self._hops, *hops]  # RFC 8689 §5: a report rather goes without than not at all

    @property
    def _must_promise(self) -> bool:
        """Whether this hop gets the message only with REQUIRETLS."""
        return self._tried_hops <= self._promising and not _is_final(self._hop)

    def _relax(self, not_needed: bool) -> None:
        """The message may say that it needs none of what the recipient's domain asks for."""
        if not_needed:
            self._hops = [replace(hop, security=not_required(hop.security)) for hop in self._hops]
        self._try_hop()

    # -- one hop after the other -------------------------------------------------------------

    def _try_hop(self) -> None:
        if not self._left or self._tried_hops == len(self._hops):
            self._finish()
            return
        self._hop = hop = self._hops[self._tried_hops]
        self._tried_hops += 1
        self._was_stale = False
        if hop.security.trouble:
            self._deliverer.guards.passed_by(hop)
            self._found(untrusted(hop, hop.security))
            return
        addresses: Addresses | None = () if hop.path is not None else self._deliverer.router.addresses_now(hop)
        if addresses is not None:
            self._found(addresses)
        else:
            self._deliverer.router.addresses(hop).addCallback(self._found).addErrback(self.broke)

    def _leave_hop(self) -> None:
        # Sorted: a batch of all recipients is taken to be in their order.
        self._left, self._again = sorted(self._again), []
        self._try_hop()

    def _found(self, addresses: Addresses) -> None:
        if isinstance(addresses, tuple):
            self._deliverer.pool.lease(self._hop, addresses, self)
            return
        for place in self._left:
            # Another host may still take it, though this one has no address.
            self._outcomes[place] = milder(self._outcomes[place], addresses)
            self._again.append(place)
        self._leave_hop()

    def _lease_again(self, *, fresh: bool) -> None:
        self._let_go()
        hop = self._hop
        addresses: Addresses | None = () if hop.path is not None else self._deliverer.router.addresses_now(hop)
        if isinstance(addresses, tuple):
            self._deliverer.pool.lease(hop, addresses, self, fresh=fresh)
        else:
            self._deliverer.router.addresses(hop).addCallback(self._found).addErrback(self.broke)

    @_guarded
    def unreachable(self, why: Deferred, said: Sequence[Part] = ()) -> None:
        if said:
            self.account.parts += said
        else:
            self.account.remark(self._deliverer.pool.clock.seconds(), why.hop, str(why.reply))
        meant = of_the_message_alone(why) if self._hop.security.whence == OF_THE_MESSAGE else why
        if why.reply.code == 521:  # RFC 7504 §3: this host never takes mail
            meant = Failed(why.reply, why.hop)
        if isinstance(meant, Failed):
            self._pass_by(meant)
            return
        for place in self._left:
            self._decide(place, meant)
        self._leave_hop()

    # -- one transaction after the other -----------------------------------------------------

    @_guarded
    def connected(self, connection: Connection) -> None:
        self._connection = connection
        self._go_on()

    def _go_on(self, _: object = None) -> None:
        connection = self._connection
        if not self._left or connection is None:
            self._let_go()
            self._leave_hop()
            return
        if not connection.session.may_begin:  # it closed while we read the content
            self._lease_again(fresh=False)
            return
        offer = connection.session.offer
        assert offer is not None
        if self._must_promise and not offer.requiretls:
            self._pass_by(Failed(NEEDS_REQUIRETLS, connection.label))
            return
        if self._letter is None:
            self._letter = self._deliverer.letter(self.message)
        form = self._letter.form(offer)
        if form is None:
            self._let_go()  # who has a turn to read may be waiting for this very connection
            loading = defer.Deferred.fromCoroutine(self._deliverer.load(self._letter))
            loading.addCallbacks(self._has_loaded, self._unreadable).addErrback(self.broke)
        elif isinstance(form, Failed):
            self._decide_left(Failed(form.reply, connection.label))
        else:
            self._transact(connection, self._letter, form)

    def _has_loaded(self, _: None) -> None:
        self._lease_again(fresh=False)

    def _transact(self, connection: Connection, letter: Letter, form: Form) -> None:
        offer = connection.session.offer
        assert offer is not None
        limit = self._deliverer.settings.recipients_per_transaction
        if offer.rcpt_max is not None:
            limit = min(limit, offer.rcpt_max)
        if not offer.smtputf8:
            self._refuse_utf8(connection)
        self._batch, self._left = self._left[:limit], self._left[limit:]
        if not self._batch:
            self._go_on()
            return
        transaction = Transaction(
            self.message.envelope,
            self.recipients if len(self._batch) == len(self.recipients) else [self.recipients[n] for n in self._batch],
            letter.size(form),
            body=form.body,
            smtputf8=form.smtputf8,
            chunked=form.chunked,
            require_tls=self._must_promise,
        )
        tls = connection.guard.tls if connection.guard is not None else ""
        if connection.served == 0:
            self.account.parts += connection.before
            self.account.add(connection.label, tls, connection.session.record)
        self.account.add(connection.label, tls, transaction.record)
        connection.run(Errand(self, transaction, *letter.source(form)))

    def wants_more(self, transaction: Transaction) -> bool:
        """Some recipients are left, or were refused and may have to be offered again."""
        return bool(self._left) or len(transaction.accepted) < len(self._batch)

    @_guarded
    def ended(self, connection: Connection, transaction: Transaction, trouble: Exception | None) -> None:
        batch, self._batch = self._batch, ()
        if self.done is None:
            pass  # it broke, and that ended this
        elif trouble is not None:
            self._was_cut_short(batch, trouble)
        elif transaction.heard == 0 and connection.served > 1 and not self._was_stale:
            # A kept connection that had been closed meanwhile: no failure, and nobody's trouble.
            self._was_stale = True
            self._left = [*batch, *self._left]
            self._lease_again(fresh=True)
        else:
            self._answered(connection, transaction, batch)
            if self._left and connection.session.over:
                self._lease_again(fresh=False)
            else:
                self._go_on()

    def _answered(self, connection: Connection, transaction: Transaction, batch: Sequence[int]) -> None:
        offer = connection.session.offer
        if connection.does_without_auth(transaction):
            self._left = [*batch, *self._left]
            return
        dsn = offer is not None and offer.dsn
        once_more: list[int] = []
        for place, answer in zip(batch, transaction.answers, strict=True):
            assert answer is not None
            if transaction.accepted and says_too_many(answer):
                once_more.append(place)  # RFC 5321 §4.5.3.1.10; each round disposes of one recipient at least
            else:
                final = self._hop.protocol == "lmtp"
                self._decide(place, outcome_of(answer, connection.label, dsn=dsn, final=final))
        if once_more:
            self._left = once_more + self._left

    def _was_cut_short(self, batch: Sequence[int], trouble: Exception) -> None:
        assert self._letter is not None
        self._left = [*batch, *self._left]
        if isinstance(trouble, StrayLineEnd):
            self._letter.has_stray_line_end()
            self._lease_again(fresh=False)
        else:
            self._unreadable(_failure_of(trouble))

    def _unreadable(self, failure: Failure) -> None:
        """The content cannot be had.  Another host would not help."""
        why = f"the content cannot be read: {failure.getErrorMessage()}"
        self._deliverer.tell("trouble", id=self.message.id, error=why)
        for place in (*self._left, *self._again):
            self._outcomes[place] = our_trouble("the content cannot be read now")
        self._left, self._again = [], []
        self._let_go()
        self._finish()

    # -- what became of them -----------------------------------------------------------------

    def _decide(self, place: int, outcome: Outcome) -> None:
        if isinstance(outcome, Deferred) and not outcome.in_doubt:
            self._again.append(place)
        self._outcomes[place] = milder(self._outcomes[place], outcome)

    def _decide_left(self, outcome: Outcome) -> None:
        for place in self._left:
            self._decide(place, outcome)
        self._left = []
        self._go_on()

    def _pass_by(self, outcome: Outcome) -> None:
        """This hop cannot have it; another may, also one that was not reached now."""
        for place in self._left:
            self._outcomes[place] = self._outcomes[place] or outcome
        self._again += self._left
        self._left = []
        self._go_on()

    def _refuse_utf8(self, connection: Connection) -> None:
        sender = self.message.envelope.reverse_path
        refused = [place for place in self._left if needs_utf8(sender, self.recipients[place].address)]
        for place in refused:
            self._decide(place, Failed(NEEDS_SMTPUTF8, connection.label))
            self._left.remove(place)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _finish(self) -> None:
        done, self.done = self.done, None
        if done is None:
            return
        outcomes = [each or our_trouble("no outcome") for each in self._outcomes]
        self._deliverer.ended(self._letter)
        done.callback(Tried(outcomes, ((self.account, range(len(outcomes))),)))

    def broke(self, failure: Failure) -> None:
        """A defect of ours."""
        _log.failure("a defect in delivering {id}", failure, id=self.message.id)
        self._deliverer.tell("trouble", id=self.message.id, error=failure.getErrorMessage())
        for place in {*self._left, *self._batch, *self._again}:
            self._outcomes[place] = our_trouble("local error")
        self._left, self._again = [], []
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()  # first: it is not to be given to the next one
            connection.release()
        self._finish()
