"""How many sessions there may be, how long they may take, and how they end."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from relay.policy.policy import LOOPBACK, Policy, PolicySettings
from relay.receive.attendance import Attendance, client_group
from relay.receive.settings import ReceiveSettings
from tests.policy.test_forward import entries
from tests.receive.visit import HOSTNAME, OURS, STRANGER, House, Visit

MAIL, RCPT = "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@ours.example>"


def passes(house: House, seconds: float, step: float = 5.0) -> None:
    """Time goes by in the steps of the clock of time-outs."""
    for _ in range(int(seconds / step)):
        house.clock.advance(step)


def code(visit: Visit) -> str:
    return (visit.heard() or ["---"])[-1][:9]


# -- how many ----------------------------------------------------------------------------------


def test_one_session_too_many_is_told_so_and_closed() -> None:
    house = House(connections_limit=2)
    first, _ = house.visit(), house.visit()
    third = house.visit(hello=None)
    assert code(third) == "421 4.7.0" and third.is_closed
    third.leaves()
    first.leaves()
    assert house.visit(hello=None).heard()[0].startswith("220")


def test_one_stranger_cannot_take_all_connections() -> None:
    house = House(client_limit=2)
    visits = [house.visit(STRANGER) for _ in range(2)]
    assert code(house.visit(STRANGER, hello=None)) == "421 4.7.0"
    assert house.visit("203.0.113.10", hello=None).heard()[0].startswith("220")
    for visit in visits:
        visit.leaves()
    assert house.visit("203.0.113.11", hello=None).heard()[0].startswith("220")


def test_our_own_clients_are_not_counted_each() -> None:
    house = House(client_limit=1)
    assert [house.visit(hello=None).heard()[0][:3] for _ in range(5)] == ["220"] * 5


def test_the_counts_go_back_to_nothing() -> None:
    house = House(client_limit=1)
    for _ in range(10):
        visits = [house.visit(STRANGER), house.visit(STRANGER, hello=None)]
        for visit in visits:
            visit.leaves()
    assert house.factory.sessions == 0
    assert house.factory._attendance.total == 0
    assert not house.factory._attendance._of_group


def test_listeners_may_share_their_limits() -> None:
    first, second = House(connections_limit=1), House(connections_limit=1)
    first.factory._attendance = second.factory._attendance = Attendance()
    visit = first.visit()
    assert code(second.visit(hello=None)) == "421 4.7.0"
    visit.leaves()


@pytest.mark.parametrize(
    "ip, group",
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_customer_is_one_client(ip: str, group: str) -> None:
    """Who has a /64 has 2**64 addresses to come from."""
    assert client_group(ip) == group


# -- how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [(), ("EHLO x.example",), ("EHLO x.example", MAIL), ("EHLO x.example", MAIL, RCPT)])
def test_a_client_has_five_minutes_for_its_next_command(said: tuple[str, ...]) -> None:
    """RFC 5321 §4.5.3.2.7."""
    house = House()
    visit = house.visit(hello=None)
    visit.says(*said)
    passes(house, 300)
    assert visit.heard() == [] and not visit.is_closed
    passes(house, 15)
    assert code(visit) == "421 4.4.2" and visit.is_closed


def test_nobody_is_timed_out_too_early() -> None:
    """Time is looked at every few seconds only, and a client may come between two looks."""
    house = House(command_timeout_s=303)
    house.visit(STRANGER)
    house.clock.advance(4.9)
    visit = house.visit()
    for _ in range(302):
        house.clock.advance(1)
    assert not visit.is_closed


def test_a_client_has_three_minutes_for_its_next_piece_of_content() -> None:
    """RFC 5321 §4.5.3.2.5."""
    house = House()
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    for _ in range(3):
        passes(house, 170)
        visit.sends(b"still here\r\n")
    assert not visit.is_closed
    passes(house, 195)
    assert code(visit) == "421 4.4.2" and visit.is_closed
    assert house.store.drafts == set()


def test_a_command_that_comes_octet_by_octet_is_not_a_command() -> None:
    """A slow client holds a connection for as long as it likes, if each octet is taken for progress."""
    house = House()
    visit = house.visit()
    for octet in b"NOOP " + b"x" * 400:
        visit.sends(bytes([octet]))
        house.clock.advance(5)
        if visit.is_closed:
            break
    assert code(visit) == "421 4.4.2"
    assert house.clock.seconds() - 1_700_000_000 < 330


def test_content_that_trickles_comes_to_an_end() -> None:
    house = House(transaction_limit_s=600)
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    while not visit.is_closed:
        visit.sends(b"x\r\n")
        passes(house, 60)
        assert house.clock.seconds() - 1_700_000_000 < 700
    assert code(visit) == "421 4.4.2"


def test_a_large_message_on_a_slow_line_has_the_time_it_needs() -> None:
    """An hour at 1 kB a second is slow, and honest."""
    house = House(transaction_limit_s=600)
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    for _ in range(720):
        visit.sends((b"x" * 998 + b"\r\n") * 5)
        house.clock.advance(5)
    visit.sends(b"\r\n.\r\n")
    assert code(visit) == "250 2.0.0"


def test_small_talk_does_not_keep_a_session_open_for_ever() -> None:
    house = House(transaction_limit_s=600)
    visit = house.visit()
    for _ in range(90):
        visit.says("NOOP")
        house.clock.advance(10)
    assert visit.is_closed


def test_a_client_that_brings_mail_may_stay() -> None:
    house = House(transaction_limit_s=600)
    visit = house.visit()
    for _ in range(40):
        assert visit.mails().startswith("250")
        passes(house, 120)
    assert not visit.is_closed


def test_our_own_time_is_not_the_clients() -> None:
    """A commit on a hung disk: the client waits ten minutes for its answer (RFC 5321 §4.5.3.2.6), and gets it."""
    house = House(transaction_limit_s=300)
    house.store.slow_commits = True
    visit = house.visit()
    visit.mails()
    passes(house, 3600)
    assert not visit.is_closed
    house.store.commit_now()
    assert code(visit) == "250 2.0.0"
    passes(house, 290)
    assert not visit.is_closed


def test_a_slow_disk_is_not_the_clients_fault() -> None:
    house = House(transaction_limit_s=300)
    house.store.slow_writes = True
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA")
    visit.sends(b"x\r\n")
    passes(house, 3600)
    assert not visit.is_closed
    house.store.write_now()
    house.store.slow_writes = False
    visit.sends(b".\r\n")
    assert code(visit) == "250 2.0.0"


@pytest.mark.parametrize("jump", [86_400.0, 400.0, 50.0])
def test_a_clock_that_is_set_ahead_times_nobody_out(jump: float) -> None:
    """NTP, or a laptop that slept."""
    house = House()
    visit = house.visit()
    passes(house, 100)
    house.clock.rightNow += jump
    passes(house, 100)
    assert not visit.is_closed
    passes(house, 250)
    assert code(visit) == "421 4.4.2"


def test_a_clock_that_is_set_back_does_not_keep_anybody() -> None:
    house = House()
    visit = house.visit()
    passes(house, 100)
    house.clock.rightNow -= 10_000
    for call in house.clock.calls:
        call.time -= 10_000
    passes(house, 330)
    assert visit.is_closed


def test_no_message_costs_a_timer() -> None:
    house = House()
    visits = [house.visit() for _ in range(10)]
    for visit in visits:
        visit.mails()
    assert len(house.clock.getDelayedCalls()) == 1
    for visit in visits:
        visit.leaves()
    passes(house, 10)
    assert house.clock.getDelayedCalls() == []


def test_a_client_that_takes_not_even_our_leave_is_dropped() -> None:
    house = House()
    visit = house.visit()
    visit.says("QUIT")
    passes(house, 200)
    assert visit.wire.aborted


# -- how much is held --------------------------------------------------------------------------


def test_a_client_that_does_not_read_its_replies_is_not_read_from() -> None:
    house = House()
    visit = house.visit()
    visit.protocol.pauseProducing()  # the transport's buffer is full
    assert visit.wire.producerState == "paused"
    visit.sends(b"NOOP\r\n" * 50)
    assert visit.heard() == []
    visit.protocol.resumeProducing()
    assert len(visit.heard()) == 50
    assert visit.wire.producerState == "producing"


def test_a_client_that_never_reads_its_replies_is_sent_away() -> None:
    house = House()
    visit = house.visit()
    visit.protocol.pauseProducing()
    visit.sends(b"NOOP\r\n")
    passes(house, 315)
    assert visit.is_closed


def test_a_commit_while_the_client_does_not_read_waits_with_its_reply() -> None:
    house = House()
    house.store.slow_commits = True
    visit = house.visit()
    visit.mails()
    visit.protocol.pauseProducing()
    house.store.commit_now()
    assert visit.heard() == []
    visit.protocol.resumeProducing()
    assert code(visit) == "250 2.0.0"


def test_recipients_after_forwarding_are_bounded() -> None:
    """1000 recipients, each of them a list of 1000, would be a million."""
    lists = entries({f"list{n}": [f"u{n}x{m}@else.example" for m in range(90)] for n in range(20)})
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), forward=lists), recipients_limit=100)
    visit = house.visit()
    heard = visit.says(MAIL, *(f"RCPT TO:<list{n}@ours.example>" for n in range(20)))
    assert [line[:3] for line in heard] == ["250", "250"] + ["452"] * 19


# -- the end -----------------------------------------------------------------------------------


def test_shutting_down_with_nobody_there_is_done_at_once() -> None:
    house = House()
    done: list[None] = []
    house.factory.shut_down(30).addCallback(done.append)
    assert done == [None]


def test_shutting_down_says_421_to_the_idle_and_lets_a_message_be_finished() -> None:
    house = House()
    idle, busy = house.visit(), house.visit()
    busy.says(MAIL, RCPT, "DATA", "some")
    done: list[None] = []
    house.factory.shut_down(30).addCallback(done.append)
    assert code(idle) == "421 4.3.2" and idle.is_closed
    idle.leaves()
    assert not done and busy.heard() == []
    assert [line[:9] for line in busy.says("more", ".")] == ["250 2.0.0", "421 4.3.2"]
    busy.leaves()
    assert done == [None]
    assert house.only.content == b"some\r\nmore\r\n"
    assert house.clock.getDelayedCalls() == []


def test_shutting_down_waits_for_a_commit() -> None:
    house = House()
    house.store.slow_commits = True
    visit = house.visit()
    visit.mails()
    house.factory.shut_down(30)
    assert visit.heard() == []
    house.store.commit_now()
    assert [line[:9] for line in visit.heard()] == ["250 2.0.0", "421 4.3.2"]


def test_shutting_down_does_not_wait_for_ever() -> None:
    house = House()
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA", "some")
    done: list[None] = []
    house.factory.shut_down(30).addCallback(done.append)
    house.clock.advance(31)
    assert code(visit) == "421 4.3.2" and visit.is_closed
    assert house.store.drafts == set()
    house.clock.advance(2)
    assert visit.wire.aborted
    visit.leaves()
    assert done == [None]
    assert house.clock.getDelayedCalls() == []


def test_shutting_down_twice_is_shutting_down() -> None:
    house = House()
    visit = house.visit()
    done: list[None] = []
    for _ in range(2):
        house.factory.shut_down(30).addCallback(done.append)
    visit.leaves()
    house.factory.shut_down(30).addCallback(done.append)
    assert done == [None] * 3


# -- new rules ---------------------------------------------------------------------------------


def test_new_rules_count_for_sessions_that_are_open() -> None:
    house = House()
    visit = house.visit(STRANGER)
    assert visit.says(MAIL, "RCPT TO:<x@new.example>", "RSET")[1].startswith("550")
    newer = replace(OURS, domains=("new.example",))
    house.factory.reconfigure(ReceiveSettings(HOSTNAME, size_limit_octets=2000), Policy(newer))
    assert visit.says(MAIL, "RCPT TO:<x@new.example>", "RSET")[1].startswith("250")
    assert visit.says(MAIL + " SIZE=2001")[0].startswith("552")


def test_who_is_trusted_is_looked_at_again() -> None:
    house = House()
    visit = house.visit(STRANGER)
    trusting = replace(OURS, networks=(*LOOPBACK, ipaddress.IPv4Network("203.0.113.0/24")))
    house.factory.reconfigure(ReceiveSettings(HOSTNAME), Policy(trusting))
    assert visit.says(MAIL, "RCPT TO:<x@else.example>")[1].startswith("250")


def test_a_session_survives_new_rules_in_the_midst_of_a_message() -> None:
    house = House()
    visit = house.visit()
    visit.says(MAIL, RCPT, "DATA", "some")
    house.factory.reconfigure(ReceiveSettings(HOSTNAME), Policy(OURS))
    assert visit.says("more", ".")[-1].startswith("250")
    assert house.only.content == b"some\r\nmore\r\n"
