"""Deliberate defects, to show that the simulation finds such things: each breaks one promise in one place.

    python -m tests.simulate.breakages            how many seeds it takes to catch each

The list is told in docs/simulation.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from twisted.internet.defer import succeed

from relay.bounce.notify import Reporter
from relay.deliver import attempt as attempts
from relay.deliver.attempt import Attempt
from relay.deliver.connection import Connection
from relay.message import journey
from relay.message.address import Address
from relay.message.outcome import Deferred
from relay.message.reply import reply
from relay.queue import schema
from relay.queue.bodies import BodyDraft
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Settlement
from relay.receive.reception import Reception
from relay.schedule import runner as runners
from relay.schedule.active import Active
from relay.schedule.destination import Destination, Destinations
from relay.schedule.fetch import Fetch
from relay.schedule.hand import Hand
from relay.schedule.reports import Settled
from relay.schedule.retry import RetrySettings
from relay.schedule.window import Window
from relay.smtp.server import ServerSession
from relay.smtp.stuffing import DotStuffing
from tests.simulate import life
from tests.simulate.disk import SimulatedFiles
from tests.simulate.run import run_one

Around = Callable[..., Any]
"""Gets the original and its arguments."""

BREAKAGES: dict[str, Callable[[], Sequence[Any]]] = {}


def breakage(make: Callable[[], Sequence[Any]]) -> Callable[[], Sequence[Any]]:
    """Registers one; its docstring says what is broken."""
    BREAKAGES[make.__name__.replace("_", " ")] = make
    return make


def around(owner: Any, name: str, instead: Around) -> Any:
    """A patch: ``instead(original, *args)`` is called in place of the original."""
    original = getattr(owner, name)
    return mock.patch.object(owner, name, lambda *args, **kw: instead(original, *args, **kw))


# -- the disk -----------------------------------------------------------------------------------


@breakage
def forget_the_sync() -> Sequence[Any]:
    """SQLite does not sync: 250 is said for what is in the page cache only."""

    def unsynced(open_it: Around, *args: Any) -> Any:
        db = open_it(*args)
        schema.pragma(db, "synchronous = OFF")
        return db

    return [around(schema, "open_for_writing", unsynced)]


@breakage
def commit_after_250() -> Sequence[Any]:
    """The message is acknowledged when its commit begins, and not when it has ended."""

    def early(commit: Around, store: Any, change: Any, body: Any) -> Any:
        commit(store, change, body).addErrback(lambda _: None)
        return succeed(change.result)

    return [around(SqliteStore, "commit", early)]


@breakage
def body_not_synced() -> Sequence[Any]:
    """A large body gets its name without having been synced."""

    def seal(_: Around, body: Any) -> None:
        fd, body._fd = body._fd, None
        body._files.close(fd)
        body._files.rename(body._draft_path, body._path)
        body._files.sync_directory(body._path.parent)

    return [around(BodyDraft, "_seal", seal)]


@breakage
def directory_not_synced() -> Sequence[Any]:
    """A large body is synced, its name is not."""
    return [mock.patch.object(SimulatedFiles, "sync_directory", lambda files, path: None)]


# -- the schedule -------------------------------------------------------------------------------


@breakage
def drop_the_lease() -> Sequence[Any]:
    """Fresh mail is tried without its next attempt having been moved into the future."""

    def unleased(admit: Around, *args: Any) -> Any:
        admission = admit(*args)
        admission.rows = [replace(row, due_at=args[3]) for row in admission.rows]
        return admission

    return [around(Active, "admit", unleased)]


@breakage
def reset_the_retry_count() -> Sequence[Any]:
    """Each attempt is recorded as the first."""

    def forgetful(plan: Around, message: Any, row: Any, *args: Any) -> Any:
        return plan(message, replace(row, attempts=1), *args)

    return [around(runners, "plan", forgetful), around(runners, "about", _as_first)]


def _as_first(about: Around, message: Any, row: Any, *args: Any) -> Any:
    return about(message, replace(row, attempts=1), *args)


@breakage
def forget_the_rest() -> Sequence[Any]:
    """A destination that begins to rest is tried all the same."""

    def restless(began_to_rest: Around, destinations: Any, destination: Any, why: str) -> None:
        began_to_rest(destinations, destination, why)
        destination.window.wake()

    return [around(Destinations, "_began_to_rest", restless)]


@breakage
def ignore_the_window() -> Sequence[Any]:
    """Every attempt begins at once, however many there are to one destination."""
    return [mock.patch.object(Destination, "may_begin", property(lambda destination: bool(destination.waiting)))]


@breakage
def never_expire() -> Sequence[Any]:
    """Nothing is ever given up."""
    return [mock.patch.object(RetrySettings, "expires_at", lambda settings, accepted_at: float("inf"))]


@breakage
def expire_too_soon() -> Sequence[Any]:
    """The time to give up is taken for half of what it is."""

    def half(_: Around, settings: RetrySettings, accepted_at: float) -> float:
        return accepted_at + settings.give_up_after_s / 2

    return [around(RetrySettings, "expires_at", half)]


@breakage
def window_never_opens_again() -> Sequence[Any]:
    """The end of a rest is slept through."""
    return [mock.patch.object(Window, "wake", lambda window: None)]


@breakage
def forget_to_look() -> Sequence[Any]:
    """When what came fresh is in hand, nobody looks into the store again."""

    def once(due: Around, fetch: Any, at: float) -> None:
        if at <= fetch._clock.seconds():
            due(fetch, at)

    return [around(Fetch, "due", once), around(Fetch, "_answered", lambda answered, fetch, *args: _stop_asking(fetch))]


def _stop_asking(fetch: Any) -> None:
    fetch._asking = False


@breakage
def one_at_a_time() -> Sequence[Any]:
    """A single attempt is under way at any time: a hung peer holds up everybody."""
    return [mock.patch.object(life, "IN_FLIGHT", 1)]


@breakage
def room_never_given_back() -> Sequence[Any]:
    """What was reserved in memory for a fresh message stays reserved."""
    return [mock.patch.object(Hand, "unreserve", lambda hand, recipients: None)]


@breakage
def lose_a_recipient_on_partial_failure() -> Sequence[Any]:
    """When one recipient of an attempt was delivered, the others are taken for done too."""

    def careless(settled_of: Around, *args: Any) -> Any:
        settled = settled_of(*args)
        if settled.finished:
            settled.finished += [row.number for row in settled.changed]
            settled.changed.clear()
        return settled

    return [around(Settled, "of", careless)]


# -- reports ------------------------------------------------------------------------------------


@breakage
def lose_the_owed_report() -> Sequence[Any]:
    """What is owing is finished, and its report does not enter the queue."""

    def unreported(record: Around, ledger: Any, entry: Any) -> None:
        record(ledger, replace(entry, settlement=replace(entry.settlement, reports=()), admissions=()))

    return [around(runners.Ledger, "record", unreported)]


@breakage
def finish_before_the_report() -> Sequence[Any]:
    """The failed recipient is finished in one transaction, its report queued in the next, a moment later."""

    def in_two(record: Around, ledger: Any, entry: Any) -> None:
        if not entry.settlement.reports:
            record(ledger, entry)
            return
        record(ledger, replace(entry, settlement=replace(entry.settlement, reports=()), admissions=()))
        report = replace(entry, settlement=replace(entry.settlement, finished=(), changed=()))
        ledger._clock.callLater(5.0, record, ledger, report)

    return [around(runners.Ledger, "record", in_two)]


@breakage
def report_to_the_null_sender() -> Sequence[Any]:
    """Mail without a sender is bounced to the postmaster of its recipient."""

    def bounced(_: Around, reporter: Any, message: Any, finals: Any, content: Any, now: float, said: Any) -> Any:
        reader = Address("postmaster", finals[0][0].address.domain)
        return reporter._composed(reader, message, finals, content, now, None, said)

    return [around(Reporter, "undeliverable", bounced)]


@breakage
def report_twice() -> Sequence[Any]:
    """The report is put in the queue twice."""

    def twice(record: Around, ledger: Any, entry: Any) -> None:
        record(ledger, entry)
        if entry.settlement.reports:
            again = replace(entry, settlement=Settlement(entry.settlement.message_id, reports=entry.settlement.reports))
            ledger._store.record(again.settlement).addErrback(lambda _: None)

    return [around(runners.Ledger, "record", twice)]


# -- the journal --------------------------------------------------------------------------------


@breakage
def journal_afterwards() -> Sequence[Any]:
    """What became of mail is journaled in a transaction of its own, a moment later."""

    def apart(record: Around, ledger: Any, entry: Any) -> None:
        settlement = entry.settlement
        record(ledger, replace(entry, settlement=replace(settlement, entries=())))
        later = Settlement(settlement.message_id, entries=settlement.entries)
        ledger._clock.callLater(5.0, lambda: ledger._store.record(later).addErrback(lambda _: None))

    return [around(runners.Ledger, "record", apart)]


@breakage
def journal_all_as_delivered() -> Sequence[Any]:
    """Whatever became of a recipient, the journal says that it was delivered."""

    def rosy(became: Around, number: int, recipient: str, step: str, *args: Any) -> str:
        return str(became(number, recipient, "delivered", *args))

    return [around(journey, "became", rosy)]


# -- the protocol -------------------------------------------------------------------------------


@breakage
def reply_out_of_order() -> Sequence[Any]:
    """Of the replies to a group of commands the last two leave in the wrong order."""

    def swapped(data_to_send: Around, session: Any) -> bytes:
        lines = data_to_send(session).split(b"\r\n")
        if len(lines) > 3 and not any(line[3:4] == b"-" for line in lines):
            lines[-3], lines[-2] = lines[-2], lines[-3]
        return b"\r\n".join(lines)

    return [around(ServerSession, "data_to_send", swapped)]


@breakage
def say_5yz_for_our_own_trouble() -> Sequence[Any]:
    """A failing disk is answered with 554: the client bounces mail for our mistake."""
    bad = reply(554, "5.3.0", "Something is wrong here")
    return [around(Reception, "trouble", lambda trouble, *args: trouble(*args) and bad)]


@breakage
def drop_the_dot_stuffing() -> Sequence[Any]:
    """A line that begins with a dot goes out as it is."""
    return [mock.patch.object(DotStuffing, "stuff", lambda stuffing, piece: piece)]


@breakage
def deliver_twice() -> Sequence[Any]:
    """Where no answer to the content came, the next host is tried at once."""

    def impatient(decide: Around, attempt: Any, place: int, outcome: Any) -> None:
        if isinstance(outcome, Deferred) and outcome.in_doubt:
            outcome = replace(outcome, in_doubt=False)
        decide(attempt, place, outcome)

    return [around(Attempt, "_decide", impatient)]


@breakage
def doubt_not_recorded() -> Sequence[Any]:
    """A delivery that was not answered is retried later, as if it had certainly failed."""

    def certain(outcome_of: Around, *args: Any, **kw: Any) -> Any:
        outcome = outcome_of(*args, **kw)
        is_doubt = isinstance(outcome, Deferred) and outcome.in_doubt
        return replace(outcome, in_doubt=False) if is_doubt else outcome

    return [around(attempts, "outcome_of", certain)]


@breakage
def no_time_out() -> Sequence[Any]:
    """A next hop that keeps silent is waited for without end."""
    return [mock.patch.object(Connection, "check", lambda *args: None)]


# -- catching them ------------------------------------------------------------------------------


@contextmanager
def broken(name: str) -> Iterator[None]:
    """While it is broken so."""
    with ExitStack() as stack:
        for patch in BREAKAGES[name]():
            stack.enter_context(patch)
        yield


def caught(name: str, within: int, days: float) -> tuple[int, str] | None:
    """How many seeds it took, and the violation; None when it was not caught."""
    with broken(name):
        for seed in range(1, within + 1):
            violations = run_one(seed, days).violations
            if violations:
                return seed, violations[0]
    return None


def main() -> int:
    missed = 0
    for name in sys.argv[1:] or BREAKAGES:
        began = time.monotonic()
        found = caught(name, 100, 0.5)
        missed += found is None
        seeds, how = found or (0, "NOT CAUGHT")
        print(f"{name}: {seeds} seeds, {time.monotonic() - began:.0f} s: {how[:160]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
