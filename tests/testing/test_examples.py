"""The examples of docs/testing.md, which are quoted from here."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

import pytest

from relay.embed import NotTaken
from relay.testing.server import RelayServer
from relay.testing.world import RelayWorld


def test_my_app_survives_greylisting(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.greylists(minutes=5)
    relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\n\nIt works.\n")
    assert hop.messages == []
    relay_world.pass_time(minutes=10)
    assert hop.messages[0].recipients == ["ann@example.org"]


def test_a_bounce_comes_back(relay_world: RelayWorld) -> None:
    relay_world.next_hop("mx.example.org", domain="example.org").refuses("gone@example.org", "550 5.1.1 No such user")
    ours = relay_world.next_hop("mx.example.net", domain="example.net")
    relay_world.send("me@example.net", ["gone@example.org"], "Subject: hello\n\nIt works.\n")
    relay_world.wait_until(lambda: relay_world.bounces)
    (bounce,) = relay_world.bounces
    assert bounce.recipients == ["me@example.net"] and bounce.hop == ours.name
    assert [(one.recipient, one.status) for one in bounce.told] == [("gone@example.org", "5.1.1")]


def test_a_day_without_the_other_side(relay_world: RelayWorld) -> None:
    """The sender is told of the delay after an hour, and gets the message back after a day."""
    relay_world.configure({"retry": {"warn_after": "1h", "give_up_after": "1d"}})
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    relay_world.next_hop("mx.example.net", domain="example.net")
    hop.is_down()
    relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\n\nIt works.\n")
    relay_world.pass_time(hours=2)
    assert [bounce.told[0].action for bounce in relay_world.bounces] == ["delayed"]
    relay_world.pass_time(days=1)
    assert [bounce.told[0].action for bounce in relay_world.bounces] == ["delayed", "failed"]
    assert relay_world.queue == []


def test_nothing_is_lost_with_the_power(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.drops_after_the_dot()
    taken = relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\n\nIt works.\n")
    relay_world.wait_until(lambda: hop.messages)
    relay_world.crash()
    hop.is_well()
    relay_world.pass_time(hours=1)
    assert len(hop.messages) == 2, "taken twice, for the first time its answer was lost (RFC 1047)"
    assert relay_world.journey(taken.id)[-1].name == "delivered"


def test_a_smart_host_that_wants_tls_and_a_login(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("smtp.provider.example")
    hop.has_tls()
    hop.wants_login("me", "secret")
    (relay_world.folder / "password").write_text("secret\n")
    route = {
        "to": "*",
        "via": "smtp://smtp.provider.example:587",
        "user": "me",
        "password_file": str(relay_world.folder / "password"),
        "authorities": str(relay_world.authority),
    }
    relay_world.configure({"routes": [route]})
    relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\n\nIt works.\n")
    relay_world.wait_until(lambda: hop.messages)
    assert hop.messages[0].tls and hop.messages[0].login == "me"


def test_who_may_send(relay_world: RelayWorld) -> None:
    with pytest.raises(NotTaken) as refusal:
        relay_world.send("eve@example.com", ["ann@example.org"], "Subject: hello\n\n", client="198.51.100.7")
    assert refusal.value.reply.code == 550


def test_smtplib_on_virtual_time(relay_world: RelayWorld) -> None:
    """The program under test talks over a real socket; what the relay does with it happens in the world."""
    hop = relay_world.next_hop("mx.example.org", domain="example.org")
    hop.is_busy("MAIL")
    with smtplib.SMTP(*relay_world.address) as client:
        client.sendmail("me@example.net", ["ann@example.org"], "Subject: hello\r\n\r\nIt works.\r\n")
    relay_world.pass_time(minutes=5)
    assert hop.messages == [] and len(relay_world.queue) == 1
    hop.is_well()
    relay_world.pass_time(hours=1)
    assert hop.messages[0].text == "It works.\n"


def test_my_app_sends_mail(relay_server: RelayServer) -> None:
    """Real sockets and real time: for a program in any language."""
    message = EmailMessage()
    message["Subject"] = "Welcome"
    message["From"] = "app@example.org"
    message.set_content("You have signed up.\n")
    with smtplib.SMTP(relay_server.host, relay_server.port) as client:
        client.send_message(message, to_addrs=["ann@example.net"])
    (arrived,) = relay_server.wait_for_messages(1)
    assert arrived.subject == "Welcome" and arrived.recipients == ["ann@example.net"]


def test_my_app_does_not_wait_for_a_slow_world(relay_server: RelayServer) -> None:
    relay_server.next_hop.hangs("EHLO")
    with smtplib.SMTP(*relay_server.address) as client:
        client.sendmail("app@example.org", ["ann@example.net"], "Subject: hello\r\n\r\n")
    assert [row.recipient for row in relay_server.queue] == ["ann@example.net"]
