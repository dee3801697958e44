"""/etc/hosts, for configured hosts and the names of clients."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from relay.route.hosts import LOOK_AGAIN_S, HostsFile

TEXT = """\
# comment
127.0.0.1\tlocalhost
10.0.0.5   Mail.LAN.example mail  # the smart host
2001:db8::5 mail.lan.example
10.0.0.5   mail
::ffff:10.0.0.6 mapped
not-an-address broken
10.0.0.300 broken
10.0.0.7
10.0.0.8 good bad..name another
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(TEXT)
    return path


def test_names_lead_to_addresses_in_the_order_of_the_file(clock: Clock, path: Path) -> None:
    hosts = HostsFile(clock, path)
    assert hosts.addresses("mail.lan.example") == ("10.0.0.5", "2001:db8::5")
    assert hosts.addresses("mail") == ("10.0.0.5",)
    assert hosts.addresses("mapped") == ("10.0.0.6",)
    assert hosts.addresses("localhost") == ("127.0.0.1",)
    assert hosts.addresses("nobody") == hosts.addresses("broken") == ()


def test_a_bad_word_spoils_nothing_else(clock: Clock, path: Path) -> None:
    hosts = HostsFile(clock, path)
    assert hosts.addresses("good") == hosts.addresses("another") == ("10.0.0.8",)
    assert hosts.addresses("bad..name") == ()


def test_addresses_lead_to_their_first_name(clock: Clock, path: Path) -> None:
    hosts = HostsFile(clock, path)
    assert hosts.name("10.0.0.5") == "mail.lan.example"
    assert hosts.name("10.0.0.7") is None


def test_localhost_is_this_machine_even_without_a_file(clock: Clock, tmp_path: Path) -> None:
    """RFC 6761 §6.3."""
    hosts = HostsFile(clock, tmp_path / "missing")
    assert hosts.addresses("localhost") == hosts.addresses("a.localhost") == ("127.0.0.1", "::1")


def test_a_changed_file_is_read_again_after_a_while(clock: Clock, path: Path) -> None:
    hosts = HostsFile(clock, path)
    assert hosts.addresses("new") == ()
    path.write_text("10.0.0.9 new\n")
    assert hosts.addresses("new") == ()  # not looked at for each message
    clock.advance(LOOK_AGAIN_S)
    assert hosts.addresses("new") == ("10.0.0.9",)
    path.unlink()
    clock.advance(LOOK_AGAIN_S)
    assert hosts.addresses("new") == ()


def test_a_clock_that_is_set_back_does_not_hide_a_change(clock: Clock, path: Path) -> None:
    clock.advance(100_000)
    hosts = HostsFile(clock, path)
    assert hosts.addresses("new") == ()
    path.write_text("10.0.0.9 new\n")
    clock.rightNow -= 50_000
    assert hosts.addresses("new") == ("10.0.0.9",)
