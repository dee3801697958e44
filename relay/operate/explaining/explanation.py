"""An explanation, from the first finding to the verdict."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from pathlib import Path

from relay.message.envelope import Body, Envelope, Message, Origin
from relay.message.journey import Entry, read
from relay.operate import rules
from relay.operate.explaining.finding import Finding, Question, verdict_of
from relay.operate.explaining.last_attempts import LastAttempts
from relay.operate.explaining.premises import Premises
from relay.operate.explaining.standing import Standing, message_of
from relay.operate.explaining.way_in import CONTENT, WayIn
from relay.operate.explaining.way_out import WayOut
from relay.queue.store import QueuedRecipient, State

RECIPIENTS_SHOWN = 1000


class _NoJourney:
    """Of a message of which the journal knows nothing."""

    def __aiter__(self) -> _NoJourney:
        return self

    async def __anext__(self) -> Entry:
        raise StopAsyncIteration


NO_JOURNEY = _NoJourney()


async def explain(premises: Premises, question: Question) -> AsyncIterator[Finding]:
    """What would happen to a message.  Raises ValueError when there is no such listener."""
    found: list[Finding] = []
    way_in = WayIn(premises.config, premises.listeners, premises.attendance, question)
    yield _of_configuration(premises)
    async for finding in way_in.findings():
        found.append(finding)
        yield finding
    if way_in.recipients:
        now = premises.deliverer.pool.clock.seconds()
        body = Body.EIGHTBIT if question.smtputf8 else Body.SEVENBIT
        envelope = Envelope(way_in.sender, body, question.smtputf8)
        size = question.size if question.size is not None else len(CONTENT)
        message = Message("", envelope, Origin(), now, b"", b"", size)
        way_out = WayOut(premises, message)
        async for finding in way_out.findings(way_in.recipients):
            found.append(finding)
            yield finding
        yield way_out.times(now, now, 0)
        async for finding in _probes(way_out, question.probe):
            found.append(finding)
            yield finding
    yield verdict_of(found)


async def explain_message(
    premises: Premises,
    message: Message,
    rows: Sequence[QueuedRecipient],
    turns: Mapping[int, int],
    probes: bool = False,
    journey: AsyncIterable[Entry] = NO_JOURNEY,
) -> AsyncIterator[Finding]:
    """Why a message is still here, and what happens when.

    turns    as relay.schedule.runner.Runner.turns has them
    journey  what the journal has of it
    """
    yield message_of(message, len(rows))
    router, retry = premises.router, rules.schedule_settings(premises.config).retry
    shown = rows[:RECIPIENTS_SHOWN]
    standing = Standing(
        message,
        turns,
        await premises.destinations(list(dict.fromkeys(row.lane for row in shown))),
        lambda sender, address: router.route(sender, address).lane,
        retry,
        premises.deliverer.pool.clock.seconds(),
    )
    for finding in standing.findings(shown):
        yield finding
    if len(rows) > len(shown):
        yield Finding("queue", "recipient", details={"left_out": len(rows) - len(shown)})
    last = LastAttempts({row.number for row in rows})
    async for entry in journey:
        last.add(read(entry))
    for finding in last.findings():
        yield finding
    to_go = [row.recipient for row in shown if row.state is not State.OWING]
    found: list[Finding] = []
    way_out = WayOut(premises, message)
    async for finding in way_out.findings(to_go):
        found.append(finding)
        yield finding
    async for finding in _probes(way_out, probes):
        found.append(finding)
        yield finding
    yield verdict_of(found, is_queued=True)


async def _probes(way_out: WayOut, wanted: bool) -> AsyncIterator[Finding]:
    if wanted:
        async for finding in way_out.probes():
            yield finding


def _of_configuration(premises: Premises) -> Finding:
    config = premises.config
    details = {
        "hostname": config.hostname,
        "running": premises.is_running,
        "loaded_at": premises.loaded_at,
        "changed_since": premises.is_running and _has_changed(config.source, premises.loaded_at),
    }
    remedy = (
        "it has changed since the relay read it, which SIGHUP makes it do again" if details["changed_since"] else ""
    )
    return Finding("in", "configuration", config.source, place=config.source, remedy=remedy, details=details)


def _has_changed(source: str, since: float) -> bool:
    try:
        return Path(source).stat().st_mtime > since
    except OSError:
        return False
