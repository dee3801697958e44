"""The queue of a relay that is not running: its rows, read from the disk, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relay.operate.asking import Refusal

NO_ROW = (-1, -1)


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
    selection, after = selection_of(Request(fields)), NO_ROW
    try:
        while rows := queue.rows(selection, after):
            yield from (dict(row_of(listing.row_of(row))) for row in rows)
            after = (rows[-1][0], rows[-1][1])
    except StoreUnavailable as error:
        raise Refusal(str(error), "unavailable") from None
    finally:
        queue.close()
