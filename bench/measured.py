"""What was measured: kept in a file, so that the works can be done one after another, on several days if need be.

What compares relays is in one round, one after the other; so whole works are added to a file, or more rounds of a work.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.works import Result, Work


@dataclass(slots=True)
class Measured:
    """All results.

    machine   what it ran on, in words
    days      when
    rounds    work -> peer -> its rounds
    units     work -> (unit, goal)
    left_out  peer or work -> why
    syncs     peer -> syncs per message
    queued    size of the queue -> what each round found
    """

    machine: str = ""
    days: list[str] = field(default_factory=list)
    rounds: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    units: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    syncs: dict[str, float] = field(default_factory=dict)
    queued: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    @classmethod
    def begun(cls, file: Path | None) -> Self:
        """What is in the file, if there is one, to be added to."""
        measured = cls()
        if file is not None and file.exists():
            measured._take(json.loads(file.read_text("utf-8")))
        today = time.strftime("%Y-%m-%d", time.gmtime())
        measured.machine = machine()
        measured.days = sorted({*measured.days, today})
        return measured

    def _take(self, data: dict[str, Any]) -> None:
        self.days, self.left_out, self.syncs = data["days"], data["left_out"], data["syncs"]
        self.units = {work: (unit, goal) for work, (unit, goal) in data["units"].items()}
        self.rounds = {
            work: {peer: [Result(**one) for one in rounds] for peer, rounds in peers.items()}
            for work, peers in data["rounds"].items()
        }
        self.queued = {int(size): rounds for size, rounds in data["queued"].items()}

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def add(self, work: Work, peer: str, result: Result) -> None:
        self.units[work.name] = (work.unit, work.goal)
        self.rounds.setdefault(work.name, {}).setdefault(peer, []).append(result)

    def sort(self, works: Sequence[Work]) -> None:
        """Puts them in the order of the works, whenever each was done."""
        self.rounds = {work.name: self.rounds[work.name] for work in works if work.name in self.rounds}
        self.queued = dict(sorted(self.queued.items()))

    def median(self, work: str, peer: str) -> float:
        whole = [result.value for result in self.rounds[work][peer] if result.value]
        return statistics.median(whole) if whole else 0.0

    def best_postfix(self, work: str) -> float:
        """The better configuration of Postfix in this work."""
        found = [self.median(work, peer) for peer in self.rounds[work] if peer.startswith("Postfix")]
        found = [value for value in found if value]
        return (min if self.units[work][0] == "ms" else max)(found, default=0.0)

    def ratios(self, work: str, peer: str) -> Sequence[float]:
        """To the better Postfix, round by round: the machine's speed is not the same in all of them."""
        postfix = max(
            (name for name in self.rounds[work] if name.startswith("Postfix")),
            key=lambda name: -self.median(work, name) if self.units[work][0] == "ms" else self.median(work, name),
            default=None,
        )
        if postfix is None:
            return ()
        pairs = zip(self.rounds[work][peer], self.rounds[work][postfix], strict=False)
        return [ours.value / theirs.value for ours, theirs in pairs if ours.value and theirs.value]

    def shares_of_others(self) -> Sequence[float]:
        """How busy other programs kept the processors, 0..1, before each round."""
        return [result.others for peers in self.rounds.values() for rounds in peers.values() for result in rounds]

    def lines(self, work: Work) -> Iterable[str]:
        """For the terminal."""
        for peer in self.rounds.get(work.name, {}):
            yield f"{peer:28} {' '.join(cell.replace('*', '') for cell in self.cells(work.name, peer))}"

    def cells(self, work: str, peer: str) -> Sequence[str]:
        """Median and spread, ratio to Postfix, CPU, memory, and whether all arrived."""
        rounds = self.rounds[work][peer]
        values = [result.value for result in rounds if result.value]
        if not values:
            return ["did not take the load", "", "", "", "no"]
        shown = spread(values)
        if rounds[0].more:
            shown += f", p99 {spread([result.more['p99'] for result in rounds if result.more])}"
        ratio = "" if peer.startswith(("Postfix", "source")) else times(self.ratios(work, peer))
        cpu = statistics.median(result.cpu_ms for result in rounds)
        memory = max(result.memory_octets for result in rounds) >> 20
        whole = "yes" if all(result.complete for result in rounds) else "**no**"
        return [shown, ratio, f"{cpu:.2f}" if cpu else "", str(memory) if memory else "", whole]


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    return f"**{number(statistics.median(values))}** ({number(min(values))}–{number(max(values))})"


def times(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    return f"**{statistics.median(ratios):.2f}×** ({min(ratios):.2f}–{max(ratios):.2f})"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    """What it runs on, in a sentence."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("ascii", "replace"))
    memory = int(Path("/proc/meminfo").read_text("ascii").split()[1]) >> 20
    words = ["findmnt", "-n", "-o", "FSTYPE", "-T", "."]
    disk = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {memory} GiB, {disk}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
