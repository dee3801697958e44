"""Certificates through reloads: what cannot be read stays in force, and is complained of until it can."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from relay.operate.admission import Admission
from relay.operate.config import Config, load
from relay.receive.watched import at_once
from tests.fakes.authority import authority

LOOKS = [1.0] * 3


@dataclass
class House:
    """A relay's certificates in a folder.

    told  the steps that were told
    """

    folder: Path
    clock: Clock = field(default_factory=Clock)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.write("c.pem")
        self.write("clients.pem")
        around = cast(Any, SimpleNamespace(reactor=self.clock, in_thread=at_once))
        self.admission = Admission(self.config(), around, lambda step, **fields: self.told.append((step, fields)))
        self.admission.start()

    def config(self, tls: str = "{certificate: c.pem, key: c.pem}") -> Config:
        path = self.folder / "relay.yaml"
        path.write_text(f"hostname: relay.test\nspool: spool\ntls: {tls}\naccept: {{certificates: [clients.pem]}}\n")
        return load(path)

    def write(self, name: str) -> None:
        """A good one, with its key."""
        (self.folder / name).write_bytes(authority().issue_cert("relay.test").private_key_and_cert_chain_pem.bytes())

    def complaints(self) -> list[str]:
        return [*filter(None, self.admission.troubles()), *self.admission.unread()]

    def serial(self) -> int:
        """Which certificate clients are shown."""
        tls = self.admission.tls(self.config().listen[0])
        assert tls is not None
        return self.admission._certificates.loaded[0].chain[0].serial_number  # type: ignore[union-attr]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_reload_does_not_forget_that_the_certificate_is_broken(house: House) -> None:
    """It said 503 before the reload, and "ok" after it, with the file broken as before."""
    shown = house.serial()
    (house.folder / "c.pem").write_text("broken\n")
    house.clock.pump(LOOKS)
    assert len(house.complaints()) == 1
    house.told.clear()
    house.admission.use(house.config())
    (complaint,) = house.complaints()
    assert "c.pem" in complaint
    ((step, fields),) = house.told
    assert step == "trouble" and "stays in force" in fields["error"]
    house.clock.pump(LOOKS)
    assert len(house.complaints()) == 1 and house.serial() == shown
    house.write("c.pem")
    house.clock.pump(LOOKS)
    assert house.complaints() == [] and house.serial() != shown


def test_a_certificate_that_is_gone_at_a_reload_is_complained_of(house: House) -> None:
    config = house.config()
    (house.folder / "c.pem").unlink()
    house.admission.use(config)
    assert "No such file" in house.complaints()[0]
    house.write("c.pem")
    house.clock.pump(LOOKS)
    assert house.complaints() == []


def test_authorities_that_a_reload_cannot_read_are_complained_of_until_one_can(house: House) -> None:
    """Nobody watches them, and the certificates by which clients know us are new all the same."""
    shown, trusted = house.serial(), house.admission.trusted
    (house.folder / "clients.pem").write_text("broken\n")
    house.write("c.pem")
    house.admission.use(house.config())
    house.clock.pump(LOOKS)
    (complaint,) = house.complaints()
    assert "clients.pem" in complaint and house.admission.trusted is trusted
    assert house.serial() != shown
    house.write("clients.pem")
    house.admission.use(house.config())
    assert house.complaints() == [] and house.admission.trusted != trusted


def test_the_first_certificate_that_a_reload_cannot_read_is_complained_of(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.admission.use(house.config("[]"))
    assert house.complaints() == []
    (tmp_path / "c.pem").write_text("broken\n")
    house.admission.use(house.config())
    assert "c.pem" in house.complaints()[0]
    house.write("c.pem")
    house.admission.use(house.config())
    assert house.complaints() == []
    house.serial()
