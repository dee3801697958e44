"""As much of a reactor as descriptors ask for, turned by hand."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReactorFDSet)
class Reactor:
    """``turn`` is one turn of its loop."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self._later: list[Callable[[], object]] = []

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)

    def removeAll(self) -> list[object]:
        return []

    def getReaders(self) -> list[object]:
        return list(self.readers)

    def getWriters(self) -> list[object]:
        return list(self.writers)

    def callLater(self, _: float, call: Callable[..., object], *args: object) -> None:
        self._later.append(lambda: call(*args))

    def turn(self) -> None:
        later, self._later = self._later, []
        for call in later:
            call()
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for one, do in [(one, "doRead") for one in readable] + [(one, "doWrite") for one in writable]:
            why = getattr(one, do)()
            if why is not None:
                one.connectionLost(Failure(why))
