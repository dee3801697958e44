"""The protocol document's relayed mail scenario, both steps, through the real program.

Step 1 comes from its file among the dialogues; step 2 is what the next host hears.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.dialogues.player import FOLDER, play, read
from tests.scenarios.peers import running_relay

pytestmark = pytest.mark.endtoend

CONFIG = """\
hostname: foo.com
accept: {{networks: [127.0.0.0/8]}}
delivery: {{idle: 1s}}
routes:
  - to: xyz.com
    via: smtp://127.0.0.1:{port}
"""


class NextHost(threading.Thread):
    """xyz.com as the document has it: one reply to each line, and the content after 354."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.server.getsockname()[1])
        self.heard: list[str] = []

    def run(self) -> None:
        connection, _ = self.server.accept()
        with connection, connection.makefile("rwb") as stream:
            replies = iter(["250 xyz.com is on the air", "250 OK", "250 OK", "354 Start mail input", "250 OK"])
            in_content = False
            stream.write(b"220 xyz.com Simple Mail Transfer Service Ready\r\n")
            stream.flush()
            for raw in stream:
                line = raw.decode("ascii").removesuffix("\r\n")
                self.heard.append(line)
                if in_content and line != ".":
                    continue
                in_content = line == "DATA"
                last = line == "QUIT"
                stream.write(b"221 xyz.com closing\r\n" if last else next(replies).encode() + b"\r\n")
                stream.flush()
                if last:
                    return


def test_the_relayed_scenario_at_both_steps(tmp_path: Path) -> None:
    """A source route comes in and is dropped; the message goes on with our Received in front (RFC 5321 §3.6.1, §4.4).

    The document's second step adds the relay to the reverse-path, as RFC 821 had it; RFC 5321 appendix C forbids
    to make source routes, so the reverse-path goes on as it came.
    """
    dialogue = read(FOLDER / "document-3-relayed-step-1.txt")
    host = NextHost()
    host.start()
    with running_relay(tmp_path, CONFIG.format(port=host.port)) as relay:
        with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as client:
            play(dialogue, client.sendall, lambda: client.recv(65536))
        host.join(20)
    heard = host.heard
    assert heard[:4] == ["EHLO foo.com", "MAIL FROM:<JQP@bar.com>", "RCPT TO:<Jones@XYZ.COM>", "DATA"]
    content = heard[4 : heard.index(".")]
    assert content[0].startswith("Received: from bar.com (")
    assert content[1].startswith("\tby foo.com with ESMTP id ")
    sent = dialogue.steps[-2].sent.decode().split("\r\n")[:-2]
    assert content[-len(sent) :] == sent
    assert all(line[:1] == "\t" for line in content[1 : -len(sent)])
    assert heard[heard.index(".") + 1 :] == ["QUIT"]
