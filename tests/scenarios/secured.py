"""A relay with certificates, users and a listener of each kind, and what its clients need to reach it."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
import yaml

from relay.operate.users.passwords import kept_of
from tests.scenarios.peers import Relay, free_port, greets, launch_relay, wait_until

PASSWORD = "geheim"
ANN = "ann@ours.example"
LETTER = b"From: ann@ours.example\r\nTo: bob@elsewhere.example\r\nSubject: x\r\n\r\nHello\r\n"


@dataclass(frozen=True)
class Papers:
    """Certificates in files, and what they are for.

    ca       the authority that vouches for the relay
    relay    key and chain for relay.test, localhost and 127.0.0.1; other for other.test
    client   of a client, by an authority of its own; stranger by another one
    """

    folder: Path

    @classmethod
    def issued(cls, folder: Path) -> Papers:
        folder.mkdir(parents=True, exist_ok=True)
        papers = cls(folder)
        authority, clients = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(str(papers.ca))
        clients.cert_pem.write_to_path(str(papers.clients_ca))
        for path, issuer, names in (
            (papers.relay, authority, ("relay.test", "localhost", "127.0.0.1")),
            (papers.renewed, authority, ("relay.test", "localhost", "127.0.0.1")),
            (papers.other, authority, ("other.test", "*.other.test")),
            (papers.client, clients, ("device.test",)),
            (papers.stranger, trustme.CA(), ("stranger.test",)),
        ):
            issuer.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))
        return papers

    def __getattr__(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def context(self, client: Path | None = None) -> ssl.SSLContext:
        """What a client that verifies uses."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            context.load_cert_chain(client)
        return context


@dataclass
class Secured:
    """A running relay.

    ports  by what the listener is: relay, submission, submissions, old
    """

    relay: Relay
    papers: Papers
    users: Path
    ports: Mapping[str, int]


def listeners(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    at = {name: f"tcp:{port}:interface=127.0.0.1" for name, port in ports.items()}
    return [
        {"endpoint": at["relay"]},
        {"endpoint": at["submission"], "service": "submission", "tls": "required"},
        {"endpoint": at["submissions"], "service": "submissions"},
        {"endpoint": at["old"], "service": "submission", "tls_minimum": 1.0, "login_without_tls": True},
    ]


@contextmanager
def secured_relay(folder: Path, hop: int, **accept: object) -> Iterator[Secured]:
    """Runs a relay that is reached by TLS, and sends everything to a port of this machine.

    accept  goes into ``accept``, over users, a network that is nobody's, and the domain ours.example
    """
    papers = Papers(folder / "papers")
    if not papers.folder.exists():
        Papers.issued(papers.folder)
    users = folder / "users"
    users.write_text(f"{ANN}:{kept_of(PASSWORD, 'SCRAM-SHA-256')}\n", encoding="utf-8")
    shutil.copy(papers.relay, folder / "tls.pem")
    ports = {name: free_port() for name in ("relay", "submission", "submissions", "old")}
    config = {
        "hostname": "relay.test",
        "spool": "spool",
        "admin": "none",
        "listen": listeners(ports),
        "tls": [{"certificate": "tls.pem"}, {"certificate": str(papers.other)}],
        "accept": {"networks": ["192.0.2.0/24"], "domains": ["ours.example"], "users": "users", **accept},
        "routes": [{"to": "*", "via": f"smtp://127.0.0.1:{hop}"}],
        "limits": {"failed_logins": 1000, "forget_failed_login": "1s"},  # else each failure takes longer
    }
    path = folder / "relay.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    process = launch_relay(path)
    relay = Relay(ports["relay"], folder / "spool", path, process, folder / "relay.log")
    try:
        wait_until(lambda: greets(ports["old"]) or process.poll() is not None, "the relay answers")
        assert process.poll() is None, relay.said()
        yield Secured(relay, papers, users, ports)
    finally:
        relay.end()
