"""Real sockets that lead into a world in memory, so that smtplib, or a program in any language, can talk to its relay.

A thread waits for clients and one more serves each.  What a client says goes into the world at once; then time passes
there, in small steps, until the relay has answered.  While it owes nothing, time stands still.

The rule that must not be broken: one thread at a time is in the world; ``world.lock`` says which.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay.testing.world import RelayWorld

STEP_S = 0.05
"""Of the world's time, between two looks at the socket."""
OCTETS_AT_ONCE = 65536
BREATH_S = 0.0005
"""Of real time, between two steps: other threads want their turn."""


class Bridge:
    """See the module.

    address   host and port
    failures  what broke in the world while time passed there for a client
    """

    def __init__(self, world: RelayWorld, client: str) -> None:
        """client  the IP address that clients have in the world"""
        self._world = world
        self._client = client
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._crossings: list[_Crossing] = []
        self.failures: list[Exception] = []
        self.address: tuple[str, int] = self._listening.getsockname()
        threading.Thread(target=self._serve, name="relay-world", daemon=True).start()

    def close(self) -> None:
        """Nobody comes in any more, and who is there is put out."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for crossing in self._crossings:
            crossing.is_over = True

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            crossing = _Crossing(self._world, client, self.failures)
            self._crossings.append(crossing)
            threading.Thread(target=crossing.run, args=(self._client,), name="relay-client", daemon=True).start()


class _Crossing:
    """One client: a protocol on the world's side, a socket on ours."""

    def __init__(self, world: RelayWorld, client: socket.socket, failures: list[Exception]) -> None:
        self._world = world
        self._failures = failures
        self._socket = client
        self._said = bytearray()  # by the relay, and not sent yet
        self._transport: Any = None
        self._is_owed = True  # the greeting
        self.is_over = False

    # -- in the world ---------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport

    def dataReceived(self, data: bytes) -> None:
        self._said += data
        self._is_owed = False

    def connectionLost(self, reason: object) -> None:
        self._transport = None

    # -- in its thread --------------------------------------------------------------------------

    def run(self, ip: str) -> None:
        with self._socket as client:
            try:
                if self._world.call(self, client=ip):
                    while self._go_on(client):
                        pass
            except OSError:
                pass  # the client is gone
            except Exception as failure:
                self._failures.append(failure)
            finally:
                with self._world.lock:
                    if self._transport is not None and not self.is_over:
                        self._transport.abortConnection()

    def _go_on(self, client: socket.socket) -> bool:
        if self._is_owed:
            time.sleep(BREATH_S)
        readable, _, _ = select.select([client], [], [], 0 if self._is_owed else 0.05)
        with self._world.lock:
            if self.is_over:
                return False
            if readable:
                data = client.recv(OCTETS_AT_ONCE)
                if not data:
                    return False
                if self._transport is not None:
                    self._is_owed = True
                    self._transport.write(data)
            if self._is_owed or self._transport is None:
                self._world.pass_time(seconds=STEP_S)
            said, self._said = bytes(self._said), bytearray()
            is_closed = self._transport is None
        if said:
            client.sendall(said)
        return bool(said) or not is_closed
