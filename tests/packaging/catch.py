"""A next hop that catches mail for a while: ``python catch.py PORT COUNT COMMAND…`` runs the command, waits for so many
messages, and writes each as a line of JSON."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from typing import Any

from aiosmtpd.controller import Controller

WITHIN_S = 60


class Catch:
    def __init__(self) -> None:
        self.caught: queue.Queue[dict[str, Any]] = queue.Queue()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        content = envelope.content.decode("utf-8", "replace")
        self.caught.put({"sender": envelope.mail_from, "recipients": envelope.rcpt_tos, "content": content})
        return "250 2.0.0 caught"


def main(port: int, count: int, command: list[str]) -> None:
    catch = Catch()
    controller = Controller(catch, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        if command:
            subprocess.run(command, check=True)
        for _ in range(count):
            print(json.dumps(catch.caught.get(timeout=WITHIN_S)), flush=True)
    finally:
        controller.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
