"""A session without a socket: the same rules, the same replies, the same limits as for a client on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from relay.message.address import Address
from relay.message.envelope import Body, Envelope, Notify, Recipient, Ret
from relay.message.reply import Reply
from relay.policy.policy import PolicySettings, Service
from relay.policy.users import User
from relay.queue.store import StoreFull
from relay.receive.settings import Entrance, Login
from relay.receive.tls import Encryption
from relay.receive.visit import AS_IF_BY_TLS, CHUNK_OCTETS, ENDED, Sent, Visit, VisitOver
from relay.smtp.server import UNREAD_LIMIT_OCTETS
from tests.fakes.users import FakeUsers
from tests.receive.visit import HOSTNAME, OURS, STRANGER, House

T = TypeVar("T")

ANN = Address("ann", "client.example")
BOB = Recipient(Address("bob", "ours.example"))
FAR = Recipient(Address("far", "elsewhere.example"))
LETTER = b"Subject: x\r\n\r\n.\r\n.body\r\n"
TLS = object()  # nobody looks into it: a visit pretends


def later(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(coroutine)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it gives, which must be there at once."""
    results: list[T | Failure] = []
    later(coroutine).addBoth(results.append)
    assert results, "it waits"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]  # type: ignore[return-value]


def said(visit: Visit, *lines: str) -> list[str]:
    return [str(now(visit.say(line))) for line in lines]


def test_a_message_is_queued_as_it_was_brought() -> None:
    house = House()
    with Visit(house.factory, "127.0.0.1", helo="here.example") as visit:
        sent = now(visit.send(Envelope(ANN), [BOB, FAR], [LETTER[:7], LETTER[7:]]))
    assert sent == Sent(
        Reply(250, "2.0.0", (f"OK {house.only.message.id}",)),
        (Reply(250, "2.1.5", ("OK",)),) * 2,
        house.only.message.id,
    )
    assert house.only.content == LETTER
    assert house.recipients == [BOB, FAR]
    assert house.only.message.origin.helo == "here.example"
    assert b"with ESMTP id" in house.only.message.head


def test_what_the_sender_wishes_goes_along() -> None:
    house = House()
    wished = Envelope(ANN, Body.EIGHTBIT, True, Ret.HDRS, "one two")
    to = Recipient(BOB.address, Notify.SUCCESS | Notify.DELAY, "rfc822;first@x.example")
    with Visit(house.factory) as visit:
        assert now(visit.send(wished, [to], [b"x\r\n"], size=3)).id == house.only.message.id
    assert house.only.message.envelope == wished
    assert house.recipients == [to]


def test_binary_content_passes_octet_for_octet() -> None:
    """RFC 3030 §3: no line, no dot, no end of data is looked for in a chunk."""
    house = House()
    octets = bytes(range(256)) * 300 + b"\r\n.\r\n\n.\n"
    with Visit(house.factory) as visit:
        assert now(visit.send(Envelope(ANN, Body.BINARY), [BOB], iter([octets]))).id
    assert house.only.content == octets


def test_a_stranger_is_refused_what_he_is_refused_on_the_wire() -> None:
    house = House()
    with Visit(house.factory, STRANGER) as visit:
        sent = now(visit.send(Envelope(ANN), [FAR], [LETTER]))
    assert sent.reply == sent.recipients[0]
    assert (sent.reply.code, sent.reply.enhanced, sent.id) == (550, "5.7.1", "")
    wire = house.visit(STRANGER)
    assert wire.says(f"MAIL FROM:<{ANN}>", f"RCPT TO:<{FAR.address}>")[1] == str(sent.reply)
    assert not house.stored


def test_it_goes_to_those_who_are_not_refused() -> None:
    house = House()
    with Visit(house.factory, STRANGER) as visit:
        sent = now(visit.send(Envelope(ANN), [FAR, BOB], [LETTER]))
    assert [one.code for one in sent.recipients] == [550, 250]
    assert house.recipients == [BOB]


def test_several_messages_in_one_visit() -> None:
    house = House()
    with Visit(house.factory, STRANGER) as visit:
        ids = [now(visit.send(Envelope(ANN), [to], [LETTER])).id for to in (BOB, FAR, BOB)]
    assert ids == [house.stored[0].message.id, "", house.stored[1].message.id]


def test_who_is_vouched_for_is_logged_in() -> None:
    house = House(service=Service.SUBMISSION, source=FakeUsers())
    user = User("ann@client.example")
    with Visit(house.factory, STRANGER, user=user) as visit:
        assert now(visit.send(Envelope(ANN), [FAR], [LETTER])).id
        assert said(visit, "MAIL FROM:<eve@else.example>")[0].startswith("553 5.7.1")
        assert said(visit, "AUTH PLAIN AGFubgB4")[0].startswith("503")
    assert house.only.message.origin.login == "ann@client.example"
    with Visit(house.factory, STRANGER) as visit:
        assert now(visit.send(Envelope(ANN), [FAR], [LETTER])).reply.code == 530


def test_tls_is_believed_as_it_is_told() -> None:
    entrance = Entrance(must_encrypt=True, login=Login.OFFERED)
    house = House(entrance=entrance, tls=TLS)
    with Visit(house.factory) as visit:
        assert now(visit.send(Envelope(ANN), [BOB], [LETTER])).reply.code == 530
        assert said(visit, "STARTTLS")[0].startswith("220")
        assert now(visit.send(Envelope(ANN), [BOB], [LETTER])).id
    with Visit(house.factory, encryption=Encryption("TLSv1.2", "X")) as visit:
        assert now(visit.send(Envelope(ANN), [BOB], [LETTER])).id
    assert [one.message.origin.protocol for one in house.stored] == ["ESMTPS", "ESMTPS"]
    assert [fields["tls"] for fields in house.steps("encrypted")] == [AS_IF_BY_TLS.version, "TLSv1.2"]


def test_by_lmtp_each_recipient_has_the_one_reply() -> None:
    house = House(service=Service.LMTP)
    with Visit(house.factory) as visit:
        assert now(visit.send(Envelope(ANN), [BOB, FAR], [LETTER])).id == house.only.message.id
        assert now(visit.send(Envelope(ANN), [BOB, FAR], [LETTER])).id == house.stored[1].message.id


def test_content_is_taken_no_faster_than_it_is_written() -> None:
    """Whatever its size, memory holds what the session takes in unread and one piece more."""
    house = House()
    house.store.slow_writes = True
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 1022 + b"\r\n"

    with Visit(house.factory) as visit:
        sending = later(visit.send(Envelope(ANN), [BOB], pieces()))
        written = 0
        while not sending.called:
            assert (taken - written) * 1024 <= UNREAD_LIMIT_OCTETS + CHUNK_OCTETS
            house.store.write_now()
            written += 1
    assert len(house.only.content) == 1000 * 1024


def test_pieces_may_come_late() -> None:
    house = House()
    waited_for: Deferred[None] = Deferred()

    async def pieces() -> AsyncIterator[bytes]:
        yield LETTER
        await waited_for
        yield b"more\r\n"

    with Visit(house.factory) as visit:
        sending = later(visit.send(Envelope(ANN), [BOB], pieces()))
        assert not sending.called
        waited_for.callback(None)
        assert sending.called
    assert house.only.content == LETTER + b"more\r\n"


def test_content_that_is_refused_is_not_read_to_its_end() -> None:
    house = House(size_limit_octets=100_000)
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield b"x" * 1022 + b"\r\n"

    with Visit(house.factory) as visit:
        assert now(visit.send(Envelope(ANN), [BOB], pieces())).reply.code == 552
        assert len(taken) < 200
        assert now(visit.send(Envelope(ANN), [BOB], [LETTER], size=100_001)).reply.code == 552
        assert now(visit.send(Envelope(ANN), [BOB], [LETTER])).id


def test_content_whose_source_fails_is_forgotten() -> None:
    house = House()

    def pieces() -> Iterator[bytes]:
        yield LETTER
        raise OSError("the file is gone")

    visit = Visit(house.factory)
    with pytest.raises(OSError, match="gone"):
        now(visit.send(Envelope(ANN), [BOB], pieces()))
    assert (house.stored, house.store.drafts, house.factory.sessions) == ([], set(), 0)


def test_a_full_disk_is_told_as_to_any_client() -> None:
    house = House()
    house.store.trouble["commit"] = StoreFull("no room")
    with Visit(house.factory) as visit:
        sent = now(visit.send(Envelope(ANN), [BOB], [LETTER]))
    assert (str(sent.reply)[:9], sent.id) == ("452 4.3.1", "")


def test_an_address_that_no_parser_made_is_not_said() -> None:
    house = House()
    with Visit(house.factory) as visit, pytest.raises(ValueError, match="control character"):
        now(visit.send(Envelope(ANN), [Recipient(Address("x>\r\nDATA", "ours.example"))], [LETTER]))
    with Visit(house.factory) as visit, pytest.raises(ValueError, match="line end"):
        now(visit.say("MAIL FROM:<>\r\nDATA"))
    assert not house.stored


def test_a_visit_counts_as_a_session() -> None:
    house = House(client_limit=1)
    with Visit(house.factory, STRANGER) as first:
        now(first.greeting())
        with Visit(house.factory, STRANGER) as second:
            sent = now(second.send(Envelope(ANN), [BOB], [LETTER]))
            assert sent.reply.code == 421
            with pytest.raises(VisitOver, match="Too many"):
                now(second.say("NOOP"))
    house.clock.advance(0)
    assert house.factory.sessions == 0
    assert not house.factory._attendance.total


def test_when_the_relay_ends_visits_end() -> None:
    house = House()
    visit = Visit(house.factory)
    now(visit.greeting())
    gone = house.factory.shut_down(10)
    house.clock.advance(0)
    assert gone.called
    assert now(visit.send(Envelope(ANN), [BOB], [LETTER])).reply.code == 421
    assert now(Visit(house.factory).send(Envelope(ANN), [BOB], [LETTER])).reply.code == 421


def test_a_visitor_whose_content_never_ends_is_sent_away() -> None:
    house = House()
    never: Deferred[None] = Deferred()

    async def pieces() -> AsyncIterator[bytes]:
        yield LETTER
        await never

    visit = Visit(house.factory)
    sending = later(visit.send(Envelope(ANN), [BOB], pieces()))
    house.factory.shut_down(10)
    house.clock.advance(11)
    assert house.factory.sessions == 0
    never.callback(None)
    assert now_of(sending).reply.code == 421
    assert not house.stored


def test_a_session_that_ends_without_a_word_has_queued_nothing_that_is_known() -> None:
    """The last reply was a yes, to something else: it must not pass for a yes to the message."""
    house = House()
    house.store.slow_commits = True
    visit = Visit(house.factory)
    sending = later(visit.send(Envelope(ANN), [BOB], [LETTER]))
    assert not sending.called
    visit.leave()
    assert now_of(sending) == Sent(ENDED, (Reply(250, "2.1.5", ("OK",)),))


def test_a_visitor_may_stop_waiting() -> None:
    house = House()
    house.store.slow_commits = True
    visit = Visit(house.factory)
    sending = later(visit.send(Envelope(ANN), [BOB], [LETTER]))
    failures: list[Failure] = []
    sending.addErrback(failures.append)
    sending.cancel()
    assert failures[0].check(CancelledError)
    house.store.commit_now()
    assert (len(house.stored), house.factory.sessions) == (1, 0)


def test_without_recipients_there_is_no_message() -> None:
    with Visit(House().factory) as visit:
        assert now(visit.send(Envelope(ANN), [], [LETTER])).reply.code == 503


def test_a_reload_reaches_a_visit() -> None:
    house = House()
    with Visit(house.factory, STRANGER) as visit:
        now(visit.hello())
        policy = type(house.policy)(PolicySettings(HOSTNAME, domains=("elsewhere.example",)))
        house.factory.reconfigure(house.factory.house.settings, policy)
        assert now(visit.send(Envelope(ANN), [FAR], [LETTER])).id
    assert OURS.domains == ("ours.example",)


def now_of(deferred: Deferred[T]) -> T:
    results: list[T] = []
    deferred.addCallback(results.append)
    (only,) = results
    return only
