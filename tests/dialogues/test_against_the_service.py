"""The dialogues again, over TCP, against the service that ``twistd relay`` starts."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.dialogues.hosting import configuration, is_for_the_service
from tests.dialogues.player import dialogues, play, read
from tests.scenarios.peers import free_port

pytestmark = pytest.mark.endtoend

PATHS = [path for path in dialogues() if is_for_the_service(read(path))]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """dialogue -> the port of a relay that is set up as it wants."""
    place = tmp_path_factory.mktemp("dialogues")
    found: dict[str, int] = {}
    by_settings: dict[object, int] = {}
    for dialogue in map(read, PATHS):
        if dialogue.settings not in by_settings:
            folder = place / dialogue.name
            folder.mkdir()
            port = free_port()
            config = configuration(dialogue, folder, port)
            (folder / "relay.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            by_settings[dialogue.settings] = port
        found[dialogue.name] = by_settings[dialogue.settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dialogues.hosting", str(place)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline() or "null") == "ready"
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("cut", [None, 5], ids=["whole", "by-five"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_dialogue(path: Path, cut: int | None, ports: dict[str, int]) -> None:
    dialogue = read(path)
    with socket.create_connection(("127.0.0.1", ports[dialogue.name]), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send(data: bytes) -> None:
            step = cut if cut is not None and len(data) < 5000 else len(data)
            with suppress(BrokenPipeError):  # the server may have closed at what came first
                for at in range(0, len(data), step):
                    connection.sendall(data[at : at + step])

        def receive() -> bytes:
            with suppress(ConnectionResetError):  # what it has closed upon was not read to its end
                return connection.recv(65536)
            return b""

        play(dialogue, send, receive)
