"""The queue and the journal of a relay that is not running: read from the disk, without changing anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from relay.operate.asking import Refusal


def has_queue(spool: Path) -> bool:
    """Whether there is a queue in this folder that we may read."""
    from relay.queue.spool import DATABASE

    try:
        return (spool / DATABASE).is_file()
    except OSError:
        return False


def rows_of(spool: Path, fields: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """What ``queue.list`` would answer, read in portions.  Raises Refusal."""
    from relay.operate.answers.queue import row_of, selection_of
    from relay.operate.control import Request
    from relay.queue import listing
    from relay.queue.spool import DATABASE
    from relay.queue.store import StoreUnavailable

    queue = listing.Listing(spool / DATABASE)
    request = Request(fields)
    selection, newest_first = selection_of(request), request.flag("newest_first")
    after = listing.LAST_KEY if newest_first else listing.FIRST_KEY
    try:
        while rows := queue.rows(selection, after, newest_first):
            yield from (dict(row_of(listing.row_of(row))) for row in rows)
            after = (rows[-1][0], rows[-1][1])
    except StoreUnavailable as error:
        raise Refusal(str(error), "unavailable") from None
    finally:
        queue.close()


def destinations_named(spool: Path, name: str) -> dict[str, Any]:
    """What ``destination.named`` would answer.  Raises Refusal."""
    from relay.operate.answers.destinations import named_row
    from relay.queue import listing
    from relay.queue.spool import DATABASE
    from relay.queue.store import StoreUnavailable
    from relay.route.via import leads_to

    queue = listing.Listing(spool / DATABASE)
    found, after = set[str](), listing.FIRST_KEY
    try:
        while after != listing.LAST_KEY:
            lanes, after = queue.lanes_that(partial(leads_to, host=name), after)
            found |= lanes
    except StoreUnavailable as error:
        raise Refusal(str(error), "unavailable") from None
    finally:
        queue.close()
    return dict(named_row(name, found))


def journal_of(spool: Path, do: str, fields: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """What ``trace.find`` or ``trace.show`` would answer.  Raises Refusal."""
    from twisted.internet.defer import execute

    from relay.operate.answers.trace import TraceAnswers
    from relay.operate.control import BadRequest, Request
    from relay.queue.journal import Journal
    from relay.queue.listing import Listing
    from relay.queue.spool import DATABASE
    from relay.queue.store import StoreUnavailable

    listing = Listing(spool / DATABASE)
    try:
        answer = TraceAnswers(Journal(listing, execute)).by_name()[do]
        given = {name: value for name, value in fields.items() if value is not None}
        yield from map(dict, _at_once(answer(Request(given))))
    except StoreUnavailable as error:
        raise Refusal(str(error), "unavailable") from None
    except BadRequest as error:
        raise Refusal(str(error), "request") from None
    finally:
        listing.close()


def _at_once(rows: AsyncIterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows that nobody has to wait for: each read has been done when its Deferred is there."""
    while True:
        try:
            rows.__anext__().__await__().__next__()
        except StopIteration as come:
            yield come.value
        except StopAsyncIteration:
            return
        else:
            raise AssertionError("something waits, and there is no reactor")
