"""Opening a spool: what a crash, a full disk or a broken disk left behind is put in order, and never deleted.

    database unreadable         moved with all bodies to set-aside/, and a new one begun: mail goes on.  The
                                operator gets back what can be read with ``sqlite3 … .recover`` and puts the
                                relay on it, when it stands still.
    the journal alone is broken begun anew: what was, is forgotten; no mail is in it
    draft of a former life      removed: nobody was told 250
    body without a row          removed, when its id is one that this database gave; else set aside
    row without its whole body  set aside, and told

Trouble that may pass by itself (permission, a disk that is not there, is full or fails to read) changes nothing and
stops the start.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from relay.message.step import Tell
from relay.queue import committer, schema
from relay.queue.aside import SetAside
from relay.queue.batch import Tally
from relay.queue.bodies import Bodies
from relay.queue.draft import DRAFT
from relay.queue.files import Files
from relay.queue.ids import to_number
from relay.queue.rows import dumps
from relay.queue.spool import Spool
from relay.queue.store import StoreUnavailable
from relay.queue.writer import Performed, Task, Writer

# ?1 now, ?2 the wait for each attempt begun so far
_RECLAIM = """
UPDATE recipients SET state = 0, due_at = min(due_at, ?1 + ?2 * max(attempts, 1)) WHERE (message, number) IN (
    SELECT message, number FROM recipients WHERE state < 2 AND state = 1)
RETURNING lane, due_at
"""

_RECLAIM_OWING = "UPDATE recipients SET due_at = min(due_at, ?1) WHERE state = 3"

_KNOWN = """
SELECT json_group_array(value) FROM json_each(?1)
WHERE value IN (SELECT id FROM messages WHERE content IS NULL) OR value IN (SELECT message FROM set_aside)
"""

_LARGE = "SELECT id, size - length(head) FROM messages WHERE content IS NULL"


class Opening:
    """The steps from a directory to a queue, each of which may find something broken."""

    def __init__(
        self,
        spool: Spool,
        writer: Writer,
        bodies: Bodies,
        files: Files,
        clock: IReactorTime,
        tell: Tell,
        reclaim_s: float,
    ) -> None:
        self._spool = spool
        self._writer = writer
        self._bodies = bodies
        self._files = files
        self._clock = clock
        self._tell = tell
        self._reclaim_s = reclaim_s

    def open(self) -> Tally:
        """The queue in numbers, everything in order.  Raises StoreUnavailable, SchemaTooNew, OSError."""
        try:
            tally = self._open_database()
            self._reclaim()
            self._sweep(tally.ids_below)
            self._look_for_bodies()
            if tally.octets + tally.journal < committer.COMPACT_AT_START_BELOW_OCTETS:
                self._writer.compact(committer.COMPACT_FROM_OCTETS)
        except schema.DatabaseError as error:
            raise StoreUnavailable(f"the queue's database {self._spool.database} cannot be opened: {error}") from error
        return self._writer.tally()

    def _open_database(self) -> Tally:
        try:
            return self._open_and_check()
        except schema.BROKEN as error:
            self._writer.close()
            broken = str(error)
        self._spool.read_database_through()  # SQLite calls it broken too when the disk fails to read (EIO)
        place = self._spool.set_aside_database(f"{int(self._clock.seconds())}")
        self._tell(
            "set_aside",
            place=str(place),
            error=f"the queue's database is broken ({broken}); the relay begins a new one."
            " Mail is waiting in the old one: see docs/operations.md",
        )
        return self._open_and_check()

    def _open_and_check(self) -> Tally:
        self._spool.make_private(self._spool.database)
        tally = self._writer.open()
        octets = self._files.size(self._spool.database) or 0
        try:
            schema.check(self._writer.db, octets)
        except schema.JournalBroken as broken:
            self._tell("trouble", error=f"the journal is broken ({broken}), and begun anew; no mail was in it")
            schema.begin_journal_anew(self._writer.db)
            schema.check(self._writer.db, octets)
        return tally

    def _reclaim(self) -> None:
        """What was in hand when we died is tried again before its lease has run out, but not at once: the wait grows
        with the attempts, so that a message that kills us again and again cannot hammer a peer."""
        now = self._clock.seconds()

        def reclaim(writer: Writer) -> None:
            due = writer.db.execute(_RECLAIM, (now, self._reclaim_s)).fetchall()
            writer.lanes.note((str(lane), float(str(due_at))) for lane, due_at in due)
            writer.db.execute(_RECLAIM_OWING, (now,)).fetchall()

        self._do(Task(reclaim))

    def _sweep(self, ids_below: int) -> None:
        root = self._bodies.directory
        self._files.make_directory(root)
        self._files.sync_directory(root)  # a former life may have been killed with a new folder's name not yet safe
        for folder in self._files.names(root):
            numbers = []
            for name in self._files.names(root / folder):
                number = to_number(name)
                if name.endswith(DRAFT):
                    self._files.remove(root / folder / name)
                elif number >= 0:
                    numbers.append(number)
            if numbers:
                known = set(json.loads(schema.json_text(self._writer.db, _KNOWN, (dumps(numbers),))))
                for number in numbers:
                    if number not in known:
                        self._put_away(self._bodies.path(number), number < ids_below)

    def _put_away(self, path: Path, was_ours: bool) -> None:
        if was_ours:
            self._files.remove(path)
        elif self._files.size(path) is not None:
            place = self._spool.set_aside_file(path)
            self._tell("set_aside", place=str(place), error="a body that this database knows nothing of")

    def _look_for_bodies(self) -> None:
        for number, octets in self._writer.db.execute(_LARGE).fetchall():
            assert isinstance(number, int)
            there = self._files.size(self._bodies.path(number))
            if there != octets:
                why = "its body is missing" if there is None else f"its body has {there} octets, not {octets}"
                self._do(Task(SetAside(number, why, self._clock.seconds())))

    def _do(self, task: Task) -> None:
        """What cannot be done now (no room on the disk) is told, and done at the next start."""
        done: Performed = self._writer.perform([task])
        for step, fields in done.steps:
            self._tell(step, **fields)
