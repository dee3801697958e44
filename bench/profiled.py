"""Runs a Python program and counts the calls of all its threads: ``python -m bench.profiled STATS PROGRAM …``."""

from __future__ import annotations

import cProfile
import pstats
import runpy
import sys
import threading
from contextlib import suppress
from typing import Any


def main() -> None:
    stats, *sys.argv = sys.argv[1:]
    profiles: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = cProfile.Profile()
        profiles.append(profile)
        with suppress(Exception):
            profile.runcall(run, thread)

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]
    profile = cProfile.Profile()
    profiles.append(profile)
    try:
        profile.runcall(runpy.run_path, sys.argv[0], run_name="__main__")
    finally:
        _dump(profiles, stats)


def _dump(profiles: list[cProfile.Profile], name: str) -> None:
    found: pstats.Stats | None = None
    for profile in profiles:
        profile.disable()
        with suppress(TypeError):  # nothing was called in that thread
            found = pstats.Stats(profile) if found is None else found.add(profile)
    if found is not None:
        dumped: Any = found
        dumped.dump_stats(name)


if __name__ == "__main__":
    main()
