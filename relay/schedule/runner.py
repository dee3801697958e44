"""The runner: takes due mail in hand, tries it, and records what became of it.

The store is the truth, and memory holds a bounded part of it; after a crash a new runner on the same store goes on.
Fresh mail goes from its commit straight to delivery, without being read back, while there is room.

The rule that must not be broken: nothing is tried that is not leased, and nothing that was tried is let go
before what became of it is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from relay.message.account import Tried
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.journey import Entry as Journaled
from relay.message.outcome import Deferred
from relay.message.reply import LOCAL_ERROR, reply
from relay.message.step import Tell, tell_nobody
from relay.queue.store import Draft, Leased, QueuedRecipient, Settlement, State, Store
from relay.schedule import journaled
from relay.schedule.active import Active, Admission, HeldBy, LaneOf
from relay.schedule.destination import WISHED, Destination, Destinations, DestinationStatus
from relay.schedule.fetch import Fetch
from relay.schedule.hand import Attempt, Carried, Hand
from relay.schedule.ledger import Entry, Ledger, Queued
from relay.schedule.plan import plan, plan_expanded, plan_untried
from relay.schedule.pulse import Pulse
from relay.schedule.reports import Reporter, Reports, Settled
from relay.schedule.settings import ScheduleSettings
from relay.schedule.told import about

__all__ = ["Deliverer", "DestinationStatus", "LaneOf", "Reporter", "Runner"]


class Deliverer(Protocol):
    """Makes attempts."""

    def deliver(self, message: Message, recipients: Sequence[Recipient], lane: str) -> Later[Tried]:
        """Tries these recipients together.

        Fires with an outcome for each, in their order, and how it went.  It does not fail but for a defect, which is
        taken for a temporary trouble of our own.
        """
        ...


class Runner:
    """Decides what is tried and when, from the commit of a message until nothing of it is left.

    clock     ``seconds()`` is the time since the epoch; when it jumps by more than some minutes between two beats
              (relay.schedule.pulse) it was set, and nothing expires for a while: tests move theirs by the minute
    random    for jitter
    lane_of   the lane of mail from a sender to a recipient, by the routes of now
    held_by   why fresh mail from a sender to a recipient is held, by these routes; None: none is
    reporter  relay.bounce.notify.Reporter
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: IReactorTime,
        random: Random,
        deliverer: Deliverer,
        lane_of: LaneOf,
        reporter: Reporter,
        settings: ScheduleSettings,
        tell: Tell = tell_nobody,
        held_by: HeldBy | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._deliverer = deliverer
        self._settings = settings
        self._tell = tell
        self._in_flight = 0
        self._giving_back = 0
        self._pumping = False
        self._stopped: Later[None] | None = None
        self._bound: IDelayedCall | None = None
        self._hand = Hand(settings)
        self._destinations = Destinations(clock, random, settings, tell, self._woken)
        self._active = Active(self._hand, self._destinations, lane_of, settings, tell)
        self._active.held_by = held_by
        self._ledger = Ledger(store, clock, settings, tell, self._written, self._resumed)
        self._fetch = Fetch(store, clock, self._hand, self._destinations, settings, tell, self._leased)
        self._pulse = Pulse(
            store, clock, self._hand, self._destinations, self._fetch, settings, tell, self._overdue, self._lapsed
        )
        self._reports = Reports(
            store=store,
            clock=clock,
            reporter=reporter,
            hand=self._hand,
            ledger=self._ledger,
            admit=lambda recipients, now: self._active.admit(None, recipients, now, self._free()),
            settings=settings,
            tell=tell,
        )

    # -- for the service ------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to look into the store: what is due is tried, what is owing is reported."""
        self._fetch.start()
        self._pulse.start()

    def stop(self, bound_s: float) -> Later[None]:
        """Begins no more attempts, and gives back what was not begun.

        Fires when all that is under way has ended and is recorded, or after ``bound_s`` seconds: what is
        then still under way is tried again when its lease has run out.
        """
        if self._stopped is None:
            self._stopped = Later()
            self._active.is_closed = True
            self._fetch.pause()
            self._pulse.stop()
            self._destinations.stop()
            self._bound = self._clock.callLater(bound_s, self._finish)
            for destination in self._destinations:
                self._give_back(destination)
            self._finish_if_idle()
        return self._stopped

    def reconfigure(self, settings: ScheduleSettings) -> None:
        """Other settings hold from now on; what is under way goes on by the old ones."""
        self._settings = settings
        for part in (self._hand, self._active, self._ledger, self._fetch, self._pulse, self._reports):
            part.settings = settings
        self._destinations.reconfigure(settings)
        self.look()

    def routes_changed(self, lane_of: LaneOf, held_by: HeldBy | None = None) -> None:
        """Other routes hold: rests are over, and what waits in memory is given to the destinations of now."""
        self._active.lane_of = lane_of
        self._active.held_by = held_by
        self._destinations.begin_anew()
        self._active.relane()
        self.look()

    # -- for operators --------------------------------------------------------------------------

    def wake(self) -> None:
        """An operator has changed something in the queue.

        What waits its turn in memory goes back first and is read anew, so that nothing is tried that
        has been held or removed meanwhile.
        """
        for destination in self._destinations:
            self._give_back(destination)
            destination.left_behind = destination.window.is_resting
        self.look()

    def look(self) -> None:
        """Looks into the queue now: something has become due there."""
        self._fetch.due(self._clock.seconds())
        self._fetch.look()
        self._pump()

    def flush(self, lane: str | None = None) -> None:
        """Forgives this destination, or all, their troubles: what waits behind their rest may go."""
        self._destinations.forgive(lane)
        for destination in self._destinations:
            self._active.mark(destination)
        self.look()

    def rest(self, lane: str, seconds: float) -> None:
        """Leaves a destination in peace for so long, whatever becomes of what is under way there."""
        destination = self._destinations.of(lane)
        self._destinations.rest(destination, seconds, WISHED, is_wished=True)
        self._give_back(destination)

    def destinations(self) -> Sequence[DestinationStatus]:
        return [destination.status() for destination in self._destinations]

    def turns(self, message_id: str) -> Mapping[int, int]:
        """Of the recipients of a message that are in hand: in which place its turn comes at its destination.

        0: it is being tried, or what became of it is being written; those that wait in the store are not in it.
        """
        carried = self._hand.carried.get(message_id)
        if carried is None:
            return {}
        turns = dict.fromkeys(carried.numbers, 0)
        for destination in self._destinations:
            for place, attempt in enumerate(destination.waiting, 1):
                if attempt.carried is carried:
                    turns.update((row.number, place) for row in attempt.rows)
        return turns

    # -- fresh mail -----------------------------------------------------------------------------

    def enqueue(
        self,
        draft: Draft,
        envelope: Envelope,
        origin: Origin,
        head: bytes,
        recipients: Sequence[Recipient],
        expanded: Sequence[Recipient] = (),
        entries: Sequence[Journaled] = (),
    ) -> Later[Message]:
        """Puts a message in the queue, and what there is room for in hand.

        entries   the beginning of its journey
        expanded  recipients that became several of ``recipients``: that they did is reported, once, to a sender
                  who asked to hear of success (RFC 3461 §5.2.7.3 c)

        Fires when it is safely on disk; fails with StoreUnavailable, and then it is not in the queue.
        """
        now = self._clock.seconds()
        try:
            admission = self._active.admit(envelope.reverse_path, recipients, now, self._free())
        except Exception:  # the routes could not say where to: nothing has been touched
            return fail()
        if expanded:
            admission.owing = plan_expanded(envelope, expanded, now, now + 2 * self._settings.gather_s)
            admission.rows += admission.owing
        if admission.held:
            entries = (*entries, *journaled.held(admission.rows, admission.held, now))
        committed = draft.commit(envelope, origin, head, admission.rows, now, entries)
        return committed.addCallbacks(self._committed, self._not_committed, (admission,), {}, (admission,))

    def _committed(self, message: Message, admission: Admission) -> Message:
        self._begin_fresh(message, admission)
        self._pump()
        if self._stopped is not None:
            self._finish_if_idle()
        return message

    def _begin_fresh(self, message: Message, admission: Admission) -> None:
        self._active.begin(message, admission)
        if admission.owing:
            self._reports.take(message, admission.rows_owing())
        if admission.spilled:
            self._fetch.due(self._clock.seconds())

    def _not_committed(self, failure: Failure, admission: Admission) -> Failure:
        self._active.forget(admission)
        self._look_for_doubtful()
        self._finish_if_idle()
        return failure

    def _look_for_doubtful(self) -> None:
        """What the store refused may be in the queue all the same, if it failed after it had written: nobody knows of
        it here, so it is looked for when the lease that it was written with has run out."""
        self._fetch.due(self._clock.seconds() + self._settings.lease_s)

    def _free(self) -> int:
        """Room for fresh mail.  While due mail waits for room, fresh mail leaves it a portion."""
        free = self._hand.free()
        return max(0, free - self._fetch.portion) if self._fetch.wants_room else free

    # -- mail from the store --------------------------------------------------------------------

    def _leased(self, leased: Sequence[Leased]) -> None:
        for one in leased:
            try:
                if one.recipients[0].state is State.OWING:
                    self._reports.take(one.message, one.recipients)
                else:
                    self._active.take(one)
            except Exception as error:  # a defect; the lease runs out, and nothing else is kept from going
                self._tell("trouble", id=one.message.id, error=f"cannot be taken in hand: {error!r}")
        self._pump()
        if self._stopped is not None:
            self._finish_if_idle()

    def _overdue(self, leased: Sequence[Leased]) -> None:
        """What has waited too long behind a rest, or for room: it expires or is warned of, and waits on."""
        for one in leased:
            rows = self._hand.fresh(one.message.id, one.recipients)
            if not rows:
                continue
            self._settle_untried(self._hand.take(one.message, rows), rows)

    def _lapsed(self) -> None:
        """What has waited its turn in memory for longer than its lease goes back, and like all that waits in the store
        it expires and is warned of: a destination that is slow may have hours of work in memory."""
        now = self._clock.seconds()
        for destination in self._destinations:
            for attempt in self._active.withdraw_lapsed(destination, now):
                destination.left_behind = True
                self._settle_untried(attempt.carried, [_untried(row, now) for row in attempt.rows])

    def _settle_untried(self, carried: Carried, rows: Sequence[QueuedRecipient]) -> None:
        try:
            self._plan_untried(carried, rows)
        except Exception as error:  # a defect; the lease runs out, and nothing else is kept from going
            self._tell("trouble", id=carried.message.id, error=f"cannot be settled: {error!r}")
            self._hand.let_go(carried, [row.number for row in rows])

    def _plan_untried(self, carried: Carried, rows: Sequence[QueuedRecipient]) -> None:
        known = self._destinations.known(rows[0].lane)
        trouble = known.trouble if known is not None else None
        now = self._clock.seconds()
        not_before = self._pulse.not_before(now)
        planned = []
        for row in rows:
            why = trouble or Deferred(reply(451, "4.4.7", row.note or "It has not been its turn yet"))
            one = plan_untried(carried.message, row, why, now, self._settings.retry, not_before)
            if one.step:
                self._tell(one.step, **about(carried.message, row, one, why, now))
            planned.append(one)
        self._reports.settle(carried, Settled.of(rows, planned, journaled.expired(rows, planned, why, now)))

    # -- attempts -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Begins attempts in turn, as many as may be under way."""
        if self._pumping:
            return
        if self._active.stranded:
            stranded, self._active.stranded = self._active.stranded, []
            for destination in stranded:
                self._give_back(destination)
        self._pumping = True
        try:
            while self._in_flight < self._settings.in_flight and not self._ledger.is_blocked:
                attempt = self._active.next()
                if attempt is None:
                    break
                self._begin(attempt)
        finally:
            self._pumping = False

    def _begin(self, attempt: Attempt) -> None:
        self._in_flight += 1
        recipients = [row.recipient for row in attempt.rows]
        try:
            ending = self._deliverer.deliver(attempt.carried.message, recipients, attempt.destination.lane)
        except Exception:
            ending = fail()
        ending.addCallbacks(self._ended, self._broke, (attempt,), {}, (attempt,))

    def _broke(self, failure: Failure, attempt: Attempt) -> None:
        """The deliverer failed, by a defect: as any trouble of our own this is temporary."""
        self._tell("trouble", id=attempt.carried.message.id, error=f"delivery broke: {failure.getErrorMessage()}")
        self._ended(Tried([Deferred(LOCAL_ERROR)] * len(attempt.rows)), attempt)

    def _ended(self, tried: Tried, attempt: Attempt) -> None:
        if len(tried.outcomes) != len(attempt.rows):
            self._tell("trouble", id=attempt.carried.message.id, error="delivery gave too few or too many outcomes")
            tried = Tried([Deferred(LOCAL_ERROR)] * len(attempt.rows))
        destination = attempt.destination
        in_flight = destination.in_flight
        destination.in_flight -= 1
        destination.in_hand -= len(attempt.rows)
        self._in_flight -= 1
        try:
            self._settle(attempt, tried)
        except Exception as error:  # a defect; the lease runs out, and nothing else is kept from going
            self._tell("trouble", id=attempt.carried.message.id, error=f"cannot be settled: {error!r}")
            self._hand.let_go(attempt.carried, [row.number for row in attempt.rows])
        if self._destinations.learn(destination, tried.outcomes, in_flight):
            self._give_back(destination)
        self._active.mark(destination)
        if destination.left_behind:
            self._catch_up(destination)
        if not self._pumping:
            self._pump()
        if self._stopped is not None:
            self._finish_if_idle()

    def _settle(self, attempt: Attempt, tried: Tried) -> None:
        """Records what became of the recipients of an attempt."""
        carried = attempt.carried
        carried.attempts -= 1
        message = carried.message
        now = self._clock.seconds()
        jitter = self._random.random()
        not_before = self._pulse.not_before(now)
        planned, abouts = [], []
        for row, outcome in zip(attempt.rows, tried.outcomes, strict=True):
            one = plan(message, row, outcome, now, self._settings.retry, jitter, not_before)
            fields = about(message, row, one, outcome, now)
            self._tell(one.step, **fields)
            planned.append(one)
            abouts.append(fields)
        entries: Sequence[Journaled] = ()
        if self._store.journals or any(one.is_to_be_told for one in planned):
            try:
                entries = journaled.attempted(attempt.rows, planned, abouts, tried, now)
            except Exception as error:  # a defect; what became of mail is recorded all the same
                self._tell("trouble", id=message.id, error=f"cannot be journaled: {error!r}")
        self._reports.settle(carried, Settled.of(attempt.rows, planned, entries))

    def _catch_up(self, destination: Destination) -> None:
        """Mail of this destination was passed over in the store; when it may have more again, look."""
        window = destination.window
        if window.is_resting:
            return
        if window.on_probation:
            if destination.in_hand == 0:
                self._fetch.probe(destination)
        elif destination.in_hand == 0 or destination.in_hand * 2 <= self._hand.free():
            destination.left_behind = False
            self._fetch.due(self._clock.seconds())

    # -- rests ----------------------------------------------------------------------------------

    def _woken(self, destination: Destination) -> None:
        if destination.in_hand:
            self._active.mark(destination)
            self._pump()
        else:
            self._fetch.probe(destination)

    def _give_back(self, destination: Destination) -> None:
        """What waits its turn there goes back to the store, due at once: it comes when the rest is over."""
        now = self._clock.seconds()
        for attempt in self._active.withdraw(destination):
            destination.left_behind = True
            carried = attempt.carried
            numbers = [row.number for row in attempt.rows]
            if attempt.relaned:  # the store must hear of the lane, or it would give them to us again and again
                rows = tuple(_untried(row, now) for row in attempt.rows)
                self._ledger.record(Entry(Settlement(carried.message.id, (), rows), carried))
            else:
                self._hand.let_go(carried, numbers)
                self._giving_back += 1
                given = self._store.release_lease(carried.message.id, numbers, now)
                given.addCallbacks(self._given_back, self._not_given_back, (), {}, (attempt,))
            if not carried.attempts:
                self._reports.report(carried)

    def _given_back(self, _: None) -> None:
        self._giving_back -= 1
        self._finish_if_idle()

    def _not_given_back(self, failure: Failure, attempt: Attempt) -> None:
        """No harm: they come when their lease has run out."""
        self._tell("trouble", id=attempt.carried.message.id, error=f"not given back: {failure.getErrorMessage()}")
        self._fetch.due(attempt.rows[0].due_at)
        self._given_back(None)

    # -- what is written ------------------------------------------------------------------------

    def _written(self, entry: Entry, queued: Queued) -> None:
        """This is on disk now, and what it is about is no longer in hand."""
        settlement, carried = entry.settlement, entry.carried
        if settlement.finished:
            self._hand.let_go(carried, settlement.finished)
        for row in settlement.changed:
            if row.state is not State.OWING or not entry.keeps_owing:
                self._hand.let_go(carried, (row.number,))
            if row.state is not State.HELD:
                self._fetch.due(row.due_at)
        for (message, _), admission in zip(queued, entry.admissions, strict=True):
            self._tell("reported", id=carried.message.id, report=message.id, recipient=_readers(admission))
            self._begin_fresh(message, admission)
        if queued:
            self._pump()
        if self._fetch.wants_room:
            self._fetch.look()
        if self._stopped is not None:
            self._finish_if_idle()

    def _resumed(self) -> None:
        self._look_for_doubtful()
        self._fetch.look()
        self._pump()
        self._finish_if_idle()

    # -- the end --------------------------------------------------------------------------------

    def _finish_if_idle(self) -> None:
        busy = self._in_flight or self._giving_back or self._hand.committing or self._fetch.leasing
        if self._stopped is not None and not busy and self._ledger.is_empty:
            self._finish()

    def _finish(self) -> None:
        self._ledger.close()
        self._reports.stop()
        if self._bound is not None and self._stopped is not None:
            if self._bound.active():
                self._bound.cancel()
            self._bound = None
            self._stopped.callback(None)


def _untried(row: QueuedRecipient, now: float) -> QueuedRecipient:
    return replace(row, due_at=now, attempts=max(0, row.attempts - 1))


def _readers(admission: Admission) -> str:
    return ", ".join(str(row.recipient.address) for row in admission.rows)
