"""Each way in which a next hop can misbehave does what it says, as the relay meets it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.testing.hop import NextHop
from relay.testing.world import RelayWorld

LETTER = "Subject: hello\n\n.It works.\n..\n"


@pytest.fixture
def hop(relay_world: RelayWorld) -> NextHop:
    return relay_world.next_hop("mx.example.org", domain="example.org")


def send(world: RelayWorld, *recipients: str) -> str:
    return world.send("me@example.net", recipients or ("ann@example.org",), LETTER).id


def error_of(world: RelayWorld, message_id: str) -> str:
    """What the queue says of its one recipient."""
    (row,) = [row for row in world.queue if row.message_id == message_id]
    return row.note


@pytest.mark.parametrize(
    ("misbehave", "minutes", "said"),
    [
        (lambda hop: hop.is_down(), 1, "refused"),
        (lambda hop: hop.is_away(), 2, "no answer"),
        (lambda hop: hop.drops("GREETING"), 1, "greeting"),
        (lambda hop: hop.drops("DATA"), 1, "connection"),
        (lambda hop: hop.drops("END"), 1, "end of the content"),
        (lambda hop: hop.hangs("RCPT"), 20, "timed out"),
        (lambda hop: hop.is_busy("MAIL"), 1, "421 4.3.2 Too busy"),
        (lambda hop: hop.is_busy("EHLO"), 1, "421 4.3.2 Too busy"),
        (lambda hop: hop.says_garbage("EHLO"), 1, "451 4.4.2"),
        (lambda hop: hop.says("MAIL", "450 4.1.8 Cannot find your domain"), 1, "450 4.1.8 Cannot find your domain"),
        (lambda hop: hop.says("DATA", "451 4.3.0 Not now"), 1, "451 4.3.0 Not now"),
        (lambda hop: hop.refuses("ann@example.org", "452 4.2.2 Mailbox full"), 1, "452 4.2.2 Mailbox full"),
        (lambda hop: hop.refuses_content("451 4.7.1 Looked like spam"), 1, "451 4.7.1 Looked like spam"),
        (lambda hop: hop.greylists(5), 1, "451 4.7.1 Greylisted"),
    ],
)
def test_mail_waits_and_arrives_when_the_host_is_well(
    relay_world: RelayWorld, hop: NextHop, misbehave: Callable[[NextHop], None], minutes: float, said: str
) -> None:
    misbehave(hop)
    message_id = send(relay_world)
    relay_world.pass_time(minutes=minutes)
    assert hop.messages == []
    assert said.lower() in error_of(relay_world, message_id).lower()
    hop.is_well()
    relay_world.pass_time(hours=2)
    assert [one.recipients for one in hop.messages] == [["ann@example.org"]]
    assert hop.messages[0].content.endswith(LETTER.replace("\n", "\r\n").encode())
    assert relay_world.queue == []


def test_what_was_taken_without_a_word_comes_again(relay_world: RelayWorld, hop: NextHop) -> None:
    """RFC 1047."""
    hop.drops_after_the_dot()
    message_id = send(relay_world)
    relay_world.pass_time(minutes=20)
    assert len(hop.messages) > 1
    hop.is_well()
    relay_world.pass_time(hours=2)
    assert relay_world.journey(message_id)[-1].name == "delivered"


def test_a_refusal_is_for_one_recipient(relay_world: RelayWorld, hop: NextHop) -> None:
    home = relay_world.next_hop("mx.example.net", domain="example.net")
    hop.refuses("gone@example.org")
    send(relay_world, "gone@example.org", "ann@example.org")
    relay_world.pass_time(minutes=5)
    assert hop.messages[0].recipients == ["ann@example.org"]
    assert home.messages[0].told[0].reply == "550 5.1.1 No such user here"
    assert home.took("me@example.net") == home.messages == relay_world.bounces


def test_a_tarpit_takes_its_time(relay_world: RelayWorld, hop: NextHop) -> None:
    hop.is_slow(seconds=40)
    before = relay_world.clock.now
    send(relay_world)
    relay_world.wait_until(lambda: hop.messages)
    assert hop.messages[0].at - before >= 40 * 3, "greeting, EHLO, and at least one more"


def test_replies_in_turn(relay_world: RelayWorld, hop: NextHop) -> None:
    hop.says("MAIL", "451 4.3.0 once", "451 4.3.0 twice", "250 2.1.0 at last")
    message_id = send(relay_world)
    relay_world.pass_time(hours=1)
    told = [step.fields.get("reply") for step in relay_world.journey(message_id) if step.name == "deferred"]
    assert told == ["451 4.3.0 once", "451 4.3.0 twice"]
    assert len(hop.messages) == 1


def test_what_is_not_offered_is_not_used(relay_world: RelayWorld, hop: NextHop) -> None:
    hop.offers("SIZE 1000")
    send(relay_world)
    relay_world.wait_until(lambda: hop.messages)
    assert "S: 250 SIZE 1000" in hop.dialogue
    hop.offers()
    relay_world.pass_time(minutes=1)  # the connection is not kept longer
    send(relay_world)
    relay_world.wait_until(lambda: len(hop.messages) == 2)
    assert "C: HELO relay.example" in hop.dialogue


def test_tls_when_it_is_there(relay_world: RelayWorld, hop: NextHop) -> None:
    hop.has_tls()
    send(relay_world)
    relay_world.wait_until(lambda: hop.messages)
    hop.offers_not("STARTTLS")
    relay_world.pass_time(minutes=1)  # the connection is not kept longer
    send(relay_world)
    relay_world.wait_until(lambda: len(hop.messages) == 2)
    assert [one.tls for one in hop.messages] == [True, False]


@pytest.mark.parametrize("certificate", ["unknown", "wrong name", "expired"])
def test_who_is_not_who_it_should_be_gets_nothing(relay_world: RelayWorld, certificate: str) -> None:
    hop = relay_world.next_hop("smtp.provider.example")
    hop.has_tls(certificate)
    route = {"to": "*", "via": f"smtp://{hop.name}", "tls": "verify", "authorities": str(relay_world.authority)}
    relay_world.configure({"routes": [route]})
    message_id = send(relay_world)
    relay_world.pass_time(minutes=2)
    assert hop.messages == []
    assert "4.7.5" in error_of(relay_world, message_id)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login(relay_world: RelayWorld, mechanism: str) -> None:
    hop = relay_world.next_hop("smtp.provider.example")
    hop.wants_login("me", "secret")
    password = relay_world.folder / "password"
    password.write_text("wrong\n")
    route = {"to": "*", "via": f"smtp://{hop.name}", "user": "me", "password_file": str(password)}
    relay_world.configure({"routes": [{**route, "mechanisms": [mechanism], "login_unverified": True}]})
    message_id = send(relay_world)
    relay_world.pass_time(minutes=2)
    assert hop.messages == []
    assert "535 5.7.8" in error_of(relay_world, message_id)
    password.write_text("secret\n")
    relay_world.pass_time(hours=2)
    assert hop.messages[0].login == "me"
    assert not [line for line in hop.dialogue if "secret" in line or "c2VjcmV0" in line]


def test_lmtp_answers_for_each(relay_world: RelayWorld) -> None:
    hop = relay_world.next_hop("store.example", lmtp=True)
    relay_world.configure({"routes": [{"to": "*", "via": f"lmtp://{hop.name}"}]})
    hop.says("END", "250 2.0.0 stored", "452 4.2.2 Mailbox full")
    send(relay_world, "ann@example.org", "bob@example.org")
    relay_world.pass_time(seconds=30)
    assert [one.recipients for one in hop.messages] == [["ann@example.org"]]
    assert [row.recipient for row in relay_world.queue] == ["bob@example.org"]


def test_the_next_exchanger_takes_over(relay_world: RelayWorld, hop: NextHop) -> None:
    second = relay_world.next_hop("mx2.example.org", domain="example.org", preference=20)
    hop.is_down()
    send(relay_world)
    relay_world.wait_until(lambda: second.messages)


def test_what_is_no_step_and_no_reply_is_a_mistake_of_the_test(hop: NextHop) -> None:
    with pytest.raises(AssertionError, match="is none of GREETING"):
        hop.drops("HELLO")
    with pytest.raises(AssertionError, match="write it like"):
        hop.refuses("ann@example.org", "no")
