"""A relay that is put together only to be asked, on a DNS, a clock and a network of the test's own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.operate.config import Config, load
from relay.operate.explaining.at_rest import AtRest
from relay.operate.explaining.explanation import explain
from relay.operate.explaining.finding import Finding, Question
from relay.operate.explaining.premises import Premises
from relay.operate.surroundings import Surroundings
from relay.route.hosts import HostsFile
from tests.fakes.names import FakeNames
from tests.fakes.next_hop import MemoryNetwork, NextHop

T = TypeVar("T")

START = 1_700_000_000.0


class InOrder(random.Random):
    """Chance that leaves all as it is."""

    def sample(self, population: Any, k: int, *, counts: Any = None) -> list[Any]:
        return list(population)[:k]


class Asked:
    """See the module.

    names    the DNS
    network  address -> NextHop, for probes
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.names = FakeNames(self.clock)
        self.network = MemoryNetwork(self.clock, {})
        self.file = folder / "relay.yaml"
        self.file.write_text(text if "hostname" in text else f"hostname: relay.example\n{text}", encoding="utf-8")
        (folder / "hosts").write_text("10.9.9.9 smarthost.lan\n", encoding="utf-8")
        self.around = Surroundings(
            reactor=self.clock,
            chance=InOrder(),
            names=self.names,
            hosts=HostsFile(self.clock, folder / "hosts"),
            dial=self.network,
            listen=_none,
            open_store=_none,
            free=lambda _: 10**12,
        )

    @property
    def config(self) -> Config:
        return load(self.file)

    def premises(self) -> Premises:
        premises = AtRest(self.config, self.around).premises()
        # The machine that runs the tests may have any address, those of this world too.
        premises.router.ourselves = replace(premises.router.ourselves, addresses=frozenset())
        return premises

    def hop(self, address: str, hop: NextHop | Exception) -> None:
        self.network.hosts[address] = hop

    def findings(self, *recipients: str, within_s: float = 60, **wishes: Any) -> list[Finding]:
        """What is found out about a message to these recipients."""
        question = Question(recipients or ("bob@elsewhere.example",), **wishes)
        return self.gathered(explain(self.premises(), question), within_s)

    def gathered(self, findings: AsyncIterator[Finding], within_s: float = 60) -> list[Finding]:
        """All of them, when they are there within this time."""

        async def gather() -> list[Finding]:
            return [one async for one in findings]

        results: list[list[Finding] | Failure] = []
        Deferred.fromCoroutine(gather()).addBoth(results.append)
        end = self.clock.seconds() + within_s
        while not results and (calls := self.clock.getDelayedCalls()) and calls[0].getTime() <= end:
            self.clock.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))
        assert results, "it waits"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]  # type: ignore[return-value]


def the(findings: Sequence[Finding], what: str, about: str | None = None) -> Finding:
    """The one finding of a kind."""
    found = [one for one in findings if one.what == what and about in (None, one.about)]
    assert len(found) == 1, [(one.what, one.about) for one in findings]
    return found[0]


def all_of(findings: Sequence[Finding], what: str) -> list[Finding]:
    return [one for one in findings if one.what == what]


def detail(finding: Finding, *path: str) -> Any:
    """What stands in the details of a finding under these names."""
    found: Any = finding.details
    for name in path:
        assert isinstance(found, Mapping)
        found = found[name]
    return found


def _none(*_: object) -> Any:
    raise AssertionError("nothing is bound, and nothing is opened")
