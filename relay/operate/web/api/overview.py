"""How the relay does, what it has been told to do, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from relay.operate.asking import Refusal
from relay.operate.recent import LINES_KEPT
from relay.operate.web.api.models import Asked, At, Destination, MaybeAt, Text, Told
from relay.operate.web.api.operation import Answer, Call, Json, Operation, Row, Rows, Topic
from relay.operate.web.api.problem import NO_DESTINATION, not_found
from relay.operate.web.meant import lanes_known

FORECAST_LONGEST_S = 60 * 86400
SUPPOSED_LIMIT = 100

Supposed = Annotated[tuple[Text, ...], Field(max_length=SUPPOSED_LIMIT)]
"""Names of destinations; each is looked for in the queue."""


class QueueNumbers(Told):
    """The queue in numbers."""

    messages: int
    octets: int
    recipients: Mapping[str, int] = Field(description="By state: `waiting`, `held`, `owing`.")
    oldest_at: MaybeAt = Field(description="When the oldest message was accepted.")
    set_aside: int = Field(description="Broken rows, files and whole databases that wait for an operator.")


class Worker(Told):
    """One process of the relay, or a shard that one has adopted."""

    shard: int
    pid: int
    uptime_s: float
    messages: int


class Status(Told):
    """The relay as a whole."""

    version: str
    hostname: str
    pid: int
    started_at: At
    uptime_s: float
    queue: QueueNumbers
    destinations: Sequence[Destination] = Field(description="Those with most to do first, 200 at most.")
    steps: Mapping[str, int] = Field(description="How often each step was made since the start.")
    workers: Sequence[Worker]
    silent: Sequence[int] = Field(description="Workers that do not answer just now; their part is missing.")


class History(Told):
    """The last hour, minute by minute."""

    every_s: int
    from_at: At = Field(description="When the first number's minute began.")
    now_at: At = Field(description="Now: the last minute is not over yet.")
    steps: Mapping[str, Sequence[int]] = Field(description="Step → sixty numbers; what never was is left out.")
    silent: Sequence[int]


class ConfigurationFault(Told):
    """Something in the file."""

    place: str = Field(description="`file:line:column`.")
    key: str
    what: str = Field(description="What is wrong, and what would be right.")


class Configuration(Told):
    """The configuration in force, and the file as it is now.  Secrets are in files of their own, and not here."""

    source: str
    settings: Mapping[str, Any] = Field(description="Every key with its value, as docs/configuration.md has them.")
    places: Mapping[str, str] = Field(description="Key → `file:line`, for what the file or the command line names.")
    warnings: Sequence[ConfigurationFault] = Field(description="What is allowed and probably not meant.")
    faults: Sequence[ConfigurationFault] = Field(description="What is wrong with the file by now.")
    reload: Sequence[str] = Field(description="Keys for which the file has other values; a reload takes them.")
    restart: Sequence[str] = Field(description="Likewise, and only a restart takes them.")


class LogQuery(Asked):
    """Which lines."""

    lines: Annotated[int, Field(ge=0, le=LINES_KEPT)] = Field(default=100, description="How many of the last.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="debug", description="The least of them.")
    follow: bool = Field(default=False, description="Go on with what comes, as JSON lines, until you hang up.")


class LogLine(Told):
    """A line of the log: a step with its fields, which are those of the log."""

    model_config = Told.model_config | {"extra": "allow"}

    at: At
    level: Literal["debug", "info", "warning", "error"]
    step: str


class LogLines(Told):
    """The last lines of the log, oldest first."""

    rows: Sequence[LogLine]


class ForecastQuery(Asked):
    """How far, and what is taken to be the case."""

    for_s: Annotated[float, Field(ge=60, le=FORECAST_LONGEST_S)] = Field(
        default=3 * 86400, description="How far to look ahead, in seconds."
    )
    down: Supposed = Field(default=(), description="A host, domain or destination that is taken to be down.")
    up: Supposed = Field(default=(), description="Likewise, to do well from now on.")


class ForecastCourse(Told):
    """What becomes of the mail of one destination."""

    model_config = Told.model_config | {"extra": "allow"}

    destination: str
    stands: Literal["down", "well"]
    recipients: int
    next_at: MaybeAt
    first_bounce_at: MaybeAt
    last_bounce_at: MaybeAt


class Forecast(Told):
    """What becomes of the queue if nothing changes."""

    from_at: At
    every_s: float = Field(description="What one number is about.")
    events: Mapping[str, Sequence[int]] = Field(description="Tries, deliveries, warnings and bounces over time.")
    messages: Sequence[int] = Field(description="Messages in the queue over time.")
    octets: Sequence[int] = Field(description="Their octets over time.")
    destinations: Sequence[ForecastCourse]
    bounces: Sequence[Mapping[str, Any]] = Field(description="What is given up first.")
    silent: Sequence[int]


async def status(call: Call) -> Answer:
    return Json(await call.asks.ask_one("status"))


async def history(call: Call) -> Answer:
    return Json(await call.asks.ask_one("history"))


async def configuration(call: Call) -> Answer:
    return Json(await call.asks.ask_one("config"))


async def forecast(call: Call) -> Answer:
    asked = call.query
    try:
        for name in (*asked.down, *asked.up):
            await lanes_known(call.asks, name)
    except Refusal as refusal:
        raise not_found(refusal) from None
    found = await call.asks.ask_one(
        "forecast", now=call.clock.seconds(), for_s=asked.for_s, down=[*asked.down], up=[*asked.up]
    )
    return Json(found)


async def log(call: Call) -> Answer:
    asked = call.query
    rows = call.asks.stream("log.tail", lines=asked.lines, level=asked.level, follow=asked.follow)
    return Rows(rows, None if asked.follow else all_of)


async def all_of(rows: AsyncIterator[Row]) -> object:
    """Rows that are few, as one object."""
    return {"rows": [row async for row in rows]}


OVERVIEW = Topic(
    "overview",
    "How the relay does, and what it has been told to do.",
    (
        Operation(
            "GET", "/status", "getStatus", "The queue in numbers, each destination, each worker.", status, gives=Status
        ),
        Operation(
            "GET", "/history", "getHistory", "How often each step was made in each minute.", history, gives=History
        ),
        Operation(
            "GET",
            "/forecast",
            "getForecast",
            "What becomes of the queue, when nothing changes or something is down.",
            forecast,
            query=ForecastQuery,
            gives=Forecast,
            problems=NO_DESTINATION,
        ),
        Operation(
            "GET",
            "/configuration",
            "getConfiguration",
            "The configuration in force, and what is wrong with the file by now.",
            configuration,
            gives=Configuration,
        ),
        Operation(
            "GET", "/log", "getLog", "The last lines of the log.", log, query=LogQuery, gives=LogLines, has_rows=LogLine
        ),
    ),
)
