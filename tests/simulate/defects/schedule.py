"""What is tried when it must not be, or not when it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from relay.deliver.line import Line
from relay.schedule import runner as runners
from relay.schedule.active import Active
from relay.schedule.destination import Destination, Destinations
from relay.schedule.fetch import Fetch
from relay.schedule.hand import Hand
from relay.schedule.reports import Settled
from relay.schedule.retry import RetrySettings
from relay.schedule.window import Window
from tests.simulate import life
from tests.simulate.defects import Around, around, breakage


@breakage(kills=6.0)
def drop_the_lease() -> Sequence[Any]:
    """Fresh mail is tried without its next attempt having been moved into the future."""

    def unleased(admit: Around, *args: Any) -> Any:
        admission = admit(*args)
        admission.rows = [replace(row, due_at=args[3]) for row in admission.rows]
        return admission

    return [around(Active, "admit", unleased)]


@breakage(bad_hours=0.8)
def reset_the_retry_count() -> Sequence[Any]:
    """Each attempt is recorded as the first."""

    def forgetful(plan: Around, message: Any, row: Any, *args: Any) -> Any:
        return plan(message, replace(row, attempts=1), *args)

    return [around(runners, "plan", forgetful), around(runners, "about", _as_first)]


def _as_first(about: Around, message: Any, row: Any, *args: Any) -> Any:
    return about(message, replace(row, attempts=1), *args)


@breakage(bad_hours=0.8)
def forget_the_rest() -> Sequence[Any]:
    """A destination that begins to rest is tried all the same."""

    def restless(began_to_rest: Around, destinations: Any, destination: Any, why: str) -> None:
        began_to_rest(destinations, destination, why)
        destination.window.wake()

    return [around(Destinations, "_began_to_rest", restless)]


@breakage(bad_hours=0.8)
def ignore_the_window() -> Sequence[Any]:
    """Every attempt begins at once, however many there are to one destination."""
    return [mock.patch.object(Destination, "may_begin", property(lambda destination: bool(destination.waiting)))]


@breakage(bad_hours=0.8, give_up_s=7200.0)
def never_expire() -> Sequence[Any]:
    """Nothing is ever given up."""
    return [mock.patch.object(RetrySettings, "expires_at", lambda settings, accepted_at: float("inf"))]


@breakage(bad_hours=0.8)
def expire_too_soon() -> Sequence[Any]:
    """The time to give up is taken for half of what it is."""

    def half(_: Around, settings: RetrySettings, accepted_at: float) -> float:
        return accepted_at + settings.give_up_after_s / 2

    return [around(RetrySettings, "expires_at", half)]


@breakage(bad_hours=0.8)
def window_never_opens_again() -> Sequence[Any]:
    """The end of a rest is slept through."""
    return [mock.patch.object(Window, "wake", lambda window: None)]


@breakage(bad_hours=0.8)
def forget_to_look() -> Sequence[Any]:
    """When what came fresh is in hand, nobody looks into the store again."""

    def once(due: Around, fetch: Any, at: float) -> None:
        if at <= fetch._clock.seconds():
            due(fetch, at)

    return [around(Fetch, "due", once), around(Fetch, "_answered", lambda answered, fetch, *args: _stop_asking(fetch))]


def _stop_asking(fetch: Any) -> None:
    fetch._asking = False


@breakage(bad_hours=0.8, slow_disk_s=0.002, disk_faults=0.0, full_hours=0.0, workers=1)
def one_at_a_time() -> Sequence[Any]:
    """A single attempt is under way at any time: a hung peer holds up everybody."""
    return [mock.patch.object(life, "IN_FLIGHT", 1)]


@breakage(bad_hours=0.8)
def room_never_given_back() -> Sequence[Any]:
    """What was reserved in memory for a fresh message stays reserved."""
    return [mock.patch.object(Hand, "unreserve", lambda hand, recipients: None)]


@breakage(bad_hours=0.8)
def lose_a_recipient_on_partial_failure() -> Sequence[Any]:
    """When one recipient of an attempt was delivered, the others are taken for done too."""

    def careless(settled_of: Around, *args: Any) -> Any:
        settled = settled_of(*args)
        if settled.finished:
            settled.finished += [row.number for row in settled.changed]
            settled.changed.clear()
        return settled

    return [around(Settled, "of", careless)]


@breakage(workers=3, restarts=60.0, bad_hours=0.8)
def orphans_forgotten() -> Sequence[Any]:
    """A shard whose worker is gone is adopted by nobody."""
    return [mock.patch.object(life, "orphans", lambda *args: [])]


@breakage(bad_hours=0.8)
def retry_at_once() -> Sequence[Any]:
    """What was put off is due again a second later."""
    return [mock.patch.object(RetrySettings, "next_attempt", lambda settings, accepted_at, now, *args: now + 1.0)]


@breakage(bad_hours=0.8, warn_s=1800.0)
def never_warn() -> Sequence[Any]:
    """No sender hears of a delay."""
    return [mock.patch.object(RetrySettings, "warns_at", lambda settings, accepted_at: float("inf"))]


@breakage(bad_hours=0.8, active=1, bursts=800.0, per_domain=1, first_s=300.0)
def memory_without_bound() -> Sequence[Any]:
    """However much there is in memory, there is room for more."""
    return [mock.patch.object(Hand, "free", lambda hand: 10_000)]


@breakage(bad_hours=0.8)
def connections_stay_counted() -> Sequence[Any]:
    """A connection to a next hop that has ended still counts."""

    def forget(original: Around, line: Any, connection: Any) -> None:
        original(line, connection)
        line._pool.count += 1

    return [around(Line, "_forget", forget)]
