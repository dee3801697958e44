"""Putting what is broken out of the way: the row and its recipients, whole, with the reason.

Nothing is deleted.  An operator finds it in the table ``set_aside``, mends it or reads out of it what can
be read, and removes it himself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.message.journey import set_aside
from relay.queue.batch import Change
from relay.queue.ids import to_text
from relay.queue.writer import Writer

_IS_THERE: Final = """
SELECT EXISTS(SELECT 1 FROM messages WHERE id = ?1) OR EXISTS(SELECT 1 FROM recipients WHERE message = ?1)
"""

# Recipients as SQL literals, one a line: whatever a broken column holds, this can be written and read back.
_COPY: Final = """
INSERT INTO set_aside(at, why, message, accepted_at, sender, size, envelope, head, content, recipients)
SELECT ?2, ?3, ?1, accepted_at, sender, size, envelope, head, content, (
    SELECT group_concat('(' || concat_ws(', ', quote(number), quote(local), quote(domain), quote(wishes), quote(lane),
        quote(due_at), quote(attempts), quote(state), quote(note), quote(warned), quote(final)) || ')', char(10))
    FROM recipients WHERE message = ?1)
FROM (SELECT 1) LEFT JOIN messages ON id = ?1
"""

_LEAVE_TALLY: Final = """
UPDATE tally SET
    recipients = recipients - (SELECT count(*) FROM recipients WHERE message = ?1),
    (messages, octets) = (
        SELECT tally.messages - count(*), tally.octets - coalesce(sum(size), 0) FROM messages WHERE id = ?1),
    set_aside = set_aside + 1
"""


@dataclass(frozen=True, slots=True)
class SetAside:
    """The task that sets one message aside; does nothing when it is gone.

    journals  that it did is journaled
    """

    message: int
    why: str
    at: float
    journals: bool = True

    def __call__(self, writer: Writer) -> bool:
        db = writer.db
        if not writer.value(_IS_THERE, self.message):
            return False
        db.execute(_COPY, (self.message, self.at, self.why)).fetchall()
        db.execute(_LEAVE_TALLY, (self.message,)).fetchall()
        db.execute("DELETE FROM recipients WHERE message = ?", (self.message,)).fetchall()
        db.execute("DELETE FROM messages WHERE id = ?", (self.message,)).fetchall()
        if self.journals:
            writer.write(Change(entries=[(self.message, self.at, set_aside(self.why))]))
        writer.tell("set_aside", id=to_text(self.message), error=self.why)
        return True
