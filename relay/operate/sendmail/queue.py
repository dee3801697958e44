"""``mailq`` and ``sendmail -q``: the queue in the form that programs have read since sendmail, and trying it now."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from relay.message.reply import printable
from relay.operate.cli.reach import listed, running
from relay.operate.cli.speech import Stop
from relay.operate.sendmail.flags import Wishes
from relay.operate.sendmail.knowing import known
from relay.operate.whereabouts import NoConfig
from relay.receive.maildrop.leaving import MAIL

HEAD = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"


def show(wishes: Wishes) -> int:
    """mailq: what waits, message by message, and what was not picked up yet."""
    code = os.EX_OK
    try:
        with listed(*_named(wishes), {}) as rows:
            for line in lines(rows):
                print(line)
    except Stop as stop:
        code = _stopped("mailq", stop)
    left = _left(wishes)
    if left:
        print(f"-- {left} in the maildrop, for the relay to pick up.")
    return code


def _left(wishes: Wishes) -> int:
    """How many messages lie in the maildrop; none for those who may not look."""
    try:
        return sum(name.startswith(MAIL) for name in os.listdir(known(wishes.config, wishes.spool).maildrop))  # noqa: PTH208
    except (OSError, NoConfig):
        return 0


def flush(wishes: Wishes) -> int:
    """sendmail -q: tries it now."""
    try:
        with running(*_named(wishes)) as control:
            if wishes.flush is None:
                control.ask_one("queue.flush")
            else:
                kind, value = wishes.flush
                control.ask_one("queue.retry", **{kind: [value] if kind == "ids" else value})
    except Stop as stop:
        return _stopped("sendmail", stop)
    return os.EX_OK


def _named(wishes: Wishes) -> tuple[Path | None, Path | None]:
    config = wishes.config or os.environ.get("RELAY_CONFIG")
    return Path(config) if config else None, Path(wishes.spool) if wishes.spool else None


def _stopped(name: str, stop: Stop) -> int:
    print(f"{name}: {stop}", file=sys.stderr)
    return stop.code


def lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """As Postfix shows it, which monitors read: ``!`` behind the id of what is held, the last error in parentheses."""
    messages, octets = 0, 0
    for _, group in groupby(rows, key=lambda row: row["id"]):
        recipients = list(group)
        first = recipients[0]
        if not messages:
            yield HEAD
        messages, octets = messages + 1, octets + first["size"]
        is_held = all(one["state"] == "held" for one in recipients)
        arrived = time.strftime("%a %b %d %H:%M:%S", time.localtime(first["accepted_at"]))
        sender = "MAILER-DAEMON" if first["sender"] == "<>" else printable(first["sender"])
        yield f"{first['id'] + ('!' if is_held else ' '):<11} {first['size']:>8} {arrived}  {sender}"
        for error, of_error in groupby(recipients, key=lambda row: row["error"]):
            if error:
                yield f"{'(' + printable(error) + ')':>78}"
            for one in of_error:
                yield f"{'':41}{printable(one['recipient'])}"
        yield ""
    requests = "Request" if messages == 1 else "Requests"
    yield f"-- {octets // 1024} Kbytes in {messages} {requests}." if messages else "Mail queue is empty"
