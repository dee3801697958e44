"""``relay queue export``: messages out of the queue, as files."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from relay.operate.cli.absent import and_say_absent, ids_of
from relay.operate.cli.meant import meant
from relay.operate.cli.reach import reaching, running
from relay.operate.cli.selecting import selecting, selection_of
from relay.operate.cli.speech import EX_CANTCREAT, EX_DATAERR, Stop, count, say, say_json
from relay.operate.together import Together


@click.command()
@selecting
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Write ID.eml and ID.json into this folder.")
@reaching
def export(config: Path | None, spool: Path | None, as_json: bool, folder: Path | None, **conditions: Any) -> None:
    """Copy messages out of the queue; they stay in it.

    One message goes to standard output, as it would go to the next hop. With --to, each message becomes two
    files: the message, and its envelope as JSON.

    \b
    relay queue export 5f3c9a7be2d1 > message.eml
    relay queue export --domain example.org --to /var/tmp/kept
    """
    with running(config, spool) as control:
        selection, _ = meant(selection_of(conditions), control=control)
        if folder is not None:
            exported = _export_all(control, selection, folder)
            if as_json:
                say_json({"exported": exported})
            else:
                say(f"{count(exported, 'message')} written to {folder}")
            return
        ids = ids_of(selection)
        if len(ids) != 1:
            raise click.UsageError("name one message, or a folder for several with --to")
        stream = sys.stdout.buffer
        _write_message(control, ids[0], stream)
        stream.flush()


def _export_all(control: Together, selection: dict[str, object], folder: Path) -> int:
    # The ids are gathered first: one conversation answers one question at a time.
    ids = dict.fromkeys(row["id"] for row in and_say_absent(control.ask("queue.list", **selection), selection))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message_id in ids:
            _export_one(control, message_id, folder)
    except OSError as error:
        raise Stop(f"{error.filename or folder}: {error.strerror}", EX_CANTCREAT) from None
    return len(ids)


def _export_one(control: Together, message_id: str, folder: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", message_id):
        raise Stop(f"{message_id!r} is not fit for the name of a file", EX_DATAERR)
    with _private(folder / f"{message_id}.eml") as stream:
        envelope = _write_message(control, message_id, stream)
    with _private(folder / f"{message_id}.json") as stream:
        stream.write(json.dumps(envelope, indent=2).encode() + b"\n")


def _write_message(control: Together, message_id: str, stream: BinaryIO) -> dict[str, Any]:
    """Writes the message piece by piece; gives its envelope."""
    rows = control.ask("queue.content", id=message_id)
    envelope = next(rows)
    for row in rows:
        stream.write(base64.b64decode(row["data"]))
    return envelope


def _private(path: Path) -> BinaryIO:
    """A new file for its owner alone: others' mail is nobody else's business, whatever the folder's mode."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")
