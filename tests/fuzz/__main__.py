"""``python -m tests.fuzz TARGET [--seconds N] [--keep DIR]``: runs a target under atheris, from its seed corpus on.

What it finds interesting goes to a folder that is thrown away, or to DIR; an input that breaks a law is written to
the working directory as ``crash-…`` and its command to see it again is printed.  ``--again FILE`` runs one input.
With ``--runs N`` it tries so many inputs, the same ones each time.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py"))


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("target", choices=TARGETS)
    asked.add_argument("--seconds", type=int)
    asked.add_argument("--runs", type=int)
    asked.add_argument("--keep", type=Path)
    asked.add_argument("--again", type=Path)
    said = asked.parse_args()
    if said.again is not None:
        importlib.import_module(f"tests.fuzz.targets.{said.target}").run(said.again.read_bytes())
        return
    import atheris  # here, so that what it is not needed for works without it

    with atheris.instrument_imports(include=["relay"]):
        target = importlib.import_module(f"tests.fuzz.targets.{said.target}")
    with tempfile.TemporaryDirectory() as thrown_away:
        found = str(said.keep or thrown_away)
        options = ["-max_len=2000", "-timeout=60", "-rss_limit_mb=1024"]
        if said.runs is not None:
            options += [f"-runs={said.runs}", "-seed=1"]
        if said.seconds is not None or said.runs is None:
            options.append(f"-max_total_time={said.seconds or 60}")
        arguments = [sys.argv[0], *options, found, str(HERE / "corpus" / said.target)]
        atheris.Setup(arguments, target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
