"""What was measured, as tables in docs/performance.md, and beside it the chart.

Only what stands between the marks is written; the rest of the page is prose, by people.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.chart import chart
from bench.measured import Measured, number

DOCS = Path(__file__).parent.parent / "docs"
PAGE, CHART = DOCS / "performance.md", DOCS / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def tables(measured: Measured) -> str:
    """All of it as Markdown."""
    parts = [f"Measured {', '.join(measured.days)} on {measured.machine}. {_others(measured)}"]
    for name, peers in measured.rounds.items():
        unit, goal = measured.units[name]
        parts.append(f"\n### {name}\n\nGoal: {goal}.\n")
        parts.append(f"| | {unit} (lowest–highest) | to Postfix | CPU ms each | MiB | all arrived once |")
        parts.append("| --- | --- | --- | --- | --- | --- |")
        parts += [f"| {peer} | {' | '.join(measured.cells(name, peer))} |" for peer in peers]
    parts += _syncs(measured)
    parts += _queues(measured)
    if measured.left_out:
        parts.append("\n### Left out\n")
        parts += [f"- {name}: {why}" for name, why in measured.left_out.items()]
    return "\n".join(parts)


def _others(measured: Measured) -> str:
    shares = measured.shares_of_others()
    if not shares:
        return ""
    return (
        f"Other programs kept {statistics.median(shares):.0%} of the processors busy just before a round, "
        f"in the median ({min(shares):.0%}–{max(shares):.0%})."
    )


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
    "pause_ms": "the longest pause of live traffic, ms",
    "retry_s": "`relay queue retry --destination NAME` of all that waits, with live traffic, s",
    "retry_live": "live traffic meanwhile, messages/s",
    "retry_pause_ms": "its longest pause, ms",
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


def write(measured: Measured) -> None:
    """Puts it between the marks of the page, and beside the page the chart."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    chart_line = "![Messages a second, by work and relay](performance.svg)"
    PAGE.write_text(f"{before}{BEGIN}\n{chart_line}\n\n{tables(measured)}\n{END}{after}", "utf-8")
    CHART.write_text(chart(measured), "utf-8")
