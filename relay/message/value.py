"""How a value is declared: what is compared by its fields, and not changed once it was made.

To the type checker ``value`` is ``dataclasses.dataclass``, which with ``frozen=True`` lets nobody assign to a field.
At run time the fields are ordinary slots.  For what Python does to forbid an assignment then costs five times as much
as making the object, and a message is some forty such objects: it was a tenth of all work on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots):
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value"]
