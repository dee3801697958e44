"""What was measured, as tables and as a chart in docs/performance.md.

Only what stands between the marks is written; the rest of the page is prose, by people.
"""

from __future__ import annotations

import html
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.works import Result, Work

DOCS = Path(__file__).parent.parent / "docs"
PAGE, CHART = DOCS / "performance.md", DOCS / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OURS = "relay"


@dataclass(slots=True)
class Measured:
    """All results of a run.

    rounds    work -> peer -> its rounds
    left_out  peer or work -> why
    queued    size of the queue -> what each round found
    """

    rounds: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    syncs: dict[str, float] = field(default_factory=dict)
    queued: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    def add(self, work: Work, peer: str, result: Result) -> None:
        self.works[work.name] = work
        self.rounds.setdefault(work.name, {}).setdefault(peer, []).append(result)

    def median(self, work: str, peer: str) -> float:
        whole = [result.value for result in self.rounds[work][peer] if result.value]
        return statistics.median(whole) if whole else 0.0

    def best_postfix(self, work: str) -> float:
        """The better configuration of Postfix in this work."""
        found = [self.median(work, peer) for peer in self.rounds[work] if peer.startswith("Postfix")]
        return max(found, default=0.0)

    def lines(self, work: Work) -> Iterable[str]:
        """For the terminal."""
        for peer, rounds in self.rounds.get(work.name, {}).items():
            yield f"{peer:28} {' '.join(cell.replace('*', '') for cell in self.cells(work, peer, rounds))}"

    def cells(self, work: Work, peer: str, rounds: Sequence[Result]) -> Sequence[str]:
        """Median and spread, ratio to Postfix, CPU, memory, and whether all arrived."""
        values = [result.value for result in rounds if result.value]
        if not values:
            return ["did not take the load", "", "", "", "no"]
        middle = statistics.median(values)
        shown = f"**{number(middle)}** ({number(min(values))}–{number(max(values))})"
        if "p99" in rounds[0].more:
            shown += f", p99 {number(statistics.median(r.more['p99'] for r in rounds if r.more))}"
        postfix = self.best_postfix(work.name)
        ratio = f"{middle / postfix:.2f}×" if postfix else ""
        cpu = statistics.median(result.cpu_ms for result in rounds)
        memory = max(result.memory_octets for result in rounds) >> 20
        whole = "yes" if all(result.complete for result in rounds) else "**no**"
        return [shown, ratio, f"{cpu:.2f}" if cpu else "", str(memory) if memory else "", whole]

    def as_data(self) -> Mapping[str, Any]:
        return {
            "machine": machine(),
            "works": {
                work: {
                    peer: [(r.value, r.cpu_ms, r.memory_octets, r.complete, r.more) for r in rounds]
                    for peer, rounds in peers.items()
                }
                for work, peers in self.rounds.items()
            },
            "syncs": self.syncs,
            "queued": self.queued,
            "left_out": self.left_out,
        }


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    """What it ran on, in a sentence."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("ascii", "replace"))
    memory = int(Path("/proc/meminfo").read_text("ascii").split()[1]) >> 20
    disk = subprocess.run(["stat", "-f", "-c", "%T", "."], capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {memory} GiB, {disk}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, load before: "
        f"{os.getloadavg()[2]:.1f}"
    )


def tables(measured: Measured) -> str:
    """All of it as Markdown."""
    parts = [f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {machine()}."]
    for name, peers in measured.rounds.items():
        work = measured.works[name]
        parts.append(f"\n### {name}\n\nGoal: {work.goal}.\n")
        parts.append(f"| | {work.unit} (lowest–highest) | to Postfix | CPU ms each | MiB | all arrived once |")
        parts.append("| --- | --- | --- | --- | --- | --- |")
        parts += [f"| {peer} | {' | '.join(measured.cells(work, peer, rounds))} |" for peer, rounds in peers.items()]
    parts += _syncs(measured)
    parts += _queues(measured)
    if measured.left_out:
        parts.append("\n### Left out\n")
        parts += [f"- {name}: {why}" for name, why in measured.left_out.items()]
    return "\n".join(parts)


def _syncs(measured: Measured) -> Sequence[str]:
    if not measured.syncs:
        return ()
    rows = [f"| {peer} | {syncs:.2f} |" for peer, syncs in measured.syncs.items()]
    about = "Calls to fsync and its like, counted by strace in a run of its own: 20 sessions, one connection each."
    return [f"\n### Syncs per message\n\n{about}\n", "| | syncs |", "| --- | --- |", *rows]


_QUEUED = {
    "start_s": "from the start of the program to the first delivery, s",
    "ready_s": "… to the first connection, s",
    "list_s": "`relay queue list` to its first row, s",
    "memory_mib": "memory, MiB",
    "live_without": "live traffic without the queue, messages/s",
    "live": "live traffic with it, messages/s",
    "loses": "live traffic loses",
    "retry_live": "live traffic while `relay queue retry --all` runs, messages/s",
}


def _queues(measured: Measured) -> Sequence[str]:
    lines: list[str] = []
    for messages, rounds in measured.queued.items():
        lines.append(f"\n### {messages:,} messages queued for a host that does not answer\n")
        lines += ["| | median (lowest–highest) |", "| --- | --- |"]
        for key, words in _QUEUED.items():
            values = [found[key] for found in rounds]
            show = (lambda value: f"{value:.0%}") if key == "loses" else number
            lines.append(f"| {words} | {show(statistics.median(values))} ({show(min(values))}–{show(max(values))}) |")
    return lines


BAR, GAP, LEFT, WIDTH = 16, 6, 210, 760
_COLOURS = {OURS: "#1b7f4d", "Postfix": "#4a6fa5", "Exim": "#8a8a8a", "OpenSMTPD": "#b0a070"}


def chart(measured: Measured) -> str:
    """Bars: each work's rates, the longest bar of each as long as the others'."""
    shapes: list[str] = []
    y = 10
    for name, peers in measured.rounds.items():
        work = measured.works[name]
        bars = {peer: measured.median(name, peer) for peer in peers if not peer.startswith("source")}
        if work.unit in ("ms", "KiB each") or not any(bars.values()):
            continue
        y += 14
        shapes.append(f'<text x="0" y="{y}" class="work">{html.escape(name)}, {work.unit}</text>')
        y += 8
        for peer, value in bars.items():
            length = (WIDTH - LEFT - 80) * value / max(bars.values())
            colour = next((_COLOURS[key] for key in _COLOURS if peer.startswith(key)), "#999")
            middle = y + BAR - 4
            shapes.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{html.escape(peer)}</text>')
            shapes.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>')
            shapes.append(f'<text x="{LEFT + length + 6:.0f}" y="{middle}">{number(value)}</text>')
            y += BAR + GAP
        y += 12
    style = "text{font:12px sans-serif;fill:#222}.work{font-weight:bold}"
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
        f'<rect width="100%" height="100%" fill="#fff"/><style>{style}</style>\n{body}\n</svg>\n'
    )


def write(measured: Measured) -> None:
    """Puts it between the marks of the page, and beside the page the chart."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    chart_line = "![Messages a second, by work and relay](performance.svg)"
    PAGE.write_text(f"{before}{BEGIN}\n{chart_line}\n\n{tables(measured)}\n{END}{after}", "utf-8")
    CHART.write_text(chart(measured), "utf-8")
