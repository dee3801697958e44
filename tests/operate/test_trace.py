"""``relay trace``: what it finds, how it is drawn, and that it works while no relay does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.message import journey
from relay.message.account import Account
from relay.message.journey import Entry
from relay.message.reply import reply
from relay.operate import cli
from relay.operate.answers.trace import TraceAnswers
from relay.operate.cli.journeys import after
from relay.operate.control import BadRequest, Request
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Settlement
from tests.conformance.mail import NOW, all_of, clock_at, now, queue
from tests.fakes.executors import inline
from tests.fakes.memory_store import MemoryStore
from tests.operate.running import Running, running_relay

HOP = "mx.example.net [192.0.2.7]"
SESSION = journey.session(
    "192.0.2.9",
    "pc.example.org",
    "pc",
    "ESMTPS",
    None,
    "tcp:25",
    "relay",
    "TLSv1.3",
    False,
    "accept.networks: x",
    "r:3",
)


def came(sender: str = "ann@example.org", *to: str, message_id: str = "<1@example.org>", at: float = NOW) -> Entry:
    recipients = [journey.named(one) for one in to or ("bob@example.net",)]
    return at, journey.accepted(SESSION, sender, 4711, message_id, len(recipients), recipients)


def tried(step: str = "delivered", said: str = "ok", at: float = NOW + 2, to: str = "bob@example.net") -> Entry:
    account = Account(at - 0.5, "routes[2], relay.yaml:31")
    account.add(HOP, "TLSv1.3 X", [(at - 0.4, b"MAIL FROM:<ann@example.org>\r\n"), (at, reply(250, "2.0.0", said))])
    later = at + 300 if step == "deferred" else None
    return at, journey.attempted(
        account, at, "example.net", [journey.became(0, to, step, f"250 2.0.0 {said}", HOP, later)]
    )


# -- what is found ----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    clock = clock_at()
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    store = SqliteStore(tmp_path / "spool", clock=clock, executors=inline(), reserve_octets=0)
    yield store
    now(store.close())


def find(store: Any, **fields: object) -> list[dict[str, Any]]:
    return all_of(TraceAnswers(store).find(Request(fields)))  # type: ignore[arg-type]


def show(store: Any, message_id: str) -> list[dict[str, Any]]:
    return all_of(TraceAnswers(store).show(Request({"id": message_id})))  # type: ignore[arg-type]


def test_journeys_are_found_by_what_is_known_of_them(store: Any) -> None:
    first = queue(store, entries=[came(), tried()]).id
    second = queue(store, entries=[came("eve@example.org", "Bob@Example.NET", message_id="<2@x>")]).id
    third = queue(store, entries=[came("mal@b\u00fccher.example", "zoe@example.net", message_id="<3@x>")]).id
    (fourth,) = now(
        store.note([(NOW, journey.refused(SESSION, "ann@example.org", 1, "", "sender", "553 no", "w", "p"))])
    )
    everything = [fourth, third, second, first]

    def ids(**fields: object) -> list[str]:
        return [row["id"] for row in find(store, **fields)]

    assert ids() == everything
    assert ids(id=second) == [second]
    assert ids(id="000000000000") == []
    assert ids(message_id="<2@x>") == ids(message_id="2@x") == [second]
    assert ids(message_id="2@") == []
    assert ids(address="bob@example.net") == [second, first]
    assert ids(address="ANN@example.org") == [fourth, first]
    assert ids(address="@example.net") == [third, second, first]
    assert ids(address="mal@xn--bcher-kva.example") == [third]
    assert ids(address="ob@example.net") == []
    assert ids(limit=2) == [fourth, third]
    assert ids(limit=2, before=third) == [second, first]
    assert ids(since=NOW) == everything
    assert ids(since=NOW + 1) == ids(until=NOW) == []
    assert find(store, id=first)[0]["state"] == "delivered"


def test_a_quoted_local_part_is_found_too(store: Any) -> None:
    one = queue(store, entries=[came("ann@example.org", '"bob \\" x"@example.net')]).id
    assert [row["id"] for row in find(store, address='"bob \\" x"@example.net')] == [one]


def test_a_long_journey_is_one_row(store: Any) -> None:
    one = queue(store, entries=[came(), *(tried("deferred", at=NOW + n) for n in range(300)), tried(at=NOW + 400)]).id
    other = queue(store, entries=[came()]).id
    assert [(row["id"], row["state"]) for row in find(store)] == [(other, "queued"), (one, "delivered")]
    assert len(show(store, one)) == 302


def test_a_journey_is_shown_entry_by_entry(store: Any) -> None:
    one = queue(store, entries=[came(), tried()]).id
    assert [(row["at"], row["step"]) for row in show(store, one)] == [(NOW, "accepted"), (NOW + 2, "attempted")]


def test_what_is_asked_wrongly_is_said(store: Any) -> None:
    with pytest.raises(BadRequest, match="knows nothing of 000000000000"):
        show(store, "000000000000")
    for fields in ({"colour": "red"}, {"limit": 0}, {"since": "yesterday"}, {"id": 7}):
        with pytest.raises(BadRequest):
            find(store, **fields)


# -- on the command line ----------------------------------------------------------------------------

Relay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with running_relay(tmp_path) as found:
        yield found


@pytest.fixture
def relay(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def relay(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.exit_code([*map(str, arguments), "--spool", str(tmp_path)])
        return code, *capfd.readouterr()

    return relay


def put(running: Running, *entries: Entry) -> str:
    return running.within(lambda: queue(running.store, entries=entries).id)


def finish(running: Running, message_id: str, entry: Entry) -> None:
    running.within(lambda: now(running.store.record(Settlement(message_id, (0,), entries=(entry,)))))


def test_one_journey_is_drawn_whole(running: Running, relay: Relay) -> None:
    one = put(running, came(), tried("deferred", "busy"), (NOW + 4, journey.changed("retried", "ann", "", (0,))))
    code, out, err = relay("trace", "bob@example.net")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{one}  2027-01-15 08:00:00 UTC, ")
    assert lines[2:] == [
        "  +0.00s  accepted",
        "          from    ann@example.org, 4.6K octets, <1@example.org>",
        "          client  pc.example.org [192.0.2.9], helo pc, ESMTPS, TLSv1.3, at tcp:25 (relay)",
        "          let in  accept.networks: x (r:3)",
        "          to      bob@example.net",
        "",
        "  +2.00s  tried mx.example.net [192.0.2.7], TLSv1.3 X, in 0.50s",
        "          way     routes[2], relay.yaml:31: example.net",
        f"          to      bob@example.net  deferred, {HOP}: 250 2.0.0 busy, next try 5m later",
        "            mx.example.net [192.0.2.7]  TLSv1.3 X",
        "               0.100  > MAIL FROM:<ann@example.org>",
        "               0.500  < 250 2.0.0 busy",
        "",
        "  +4.00s  retried by ann",
    ]
    assert relay("trace", one)[1] == relay("trace", one.upper())[1] == relay("trace", "<1@example.org>")[1] == out


def test_several_are_listed_the_newest_first(running: Running, relay: Relay) -> None:
    first, second = (
        put(running, came(), tried()),
        put(running, came("eve@example.org", "bob@example.net", "x@y.example")),
    )
    code, out, _ = relay("trace", "bob@example.net")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [(row[0], *row[2:]) for row in rows] == [
        (second, "queued", "eve@example.org", "bob@example.net and 1 more", "accepted from 192.0.2.9"),
        (first, "delivered", "ann@example.org", "bob@example.net", f"delivered: {HOP}: 250 2.0.0 ok"),
    ]
    assert len(relay("trace", "--limit", 1)[1].splitlines()) == 1


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_program_is_told_that_there_may_be_more_and_not_among_the_rows(
    running: Running, relay: Relay, form: tuple[str, ...]
) -> None:
    for _ in range(21):
        put(running, came())
    code, said, beside = relay("trace", *form)
    assert (code, len(said.splitlines())) == (0, 20)
    assert beside == "relay: 20 journeys; there may be more: --limit\n"
    assert relay("trace", *form, "--limit", 22)[2] == ""


def test_json_of_an_id_is_its_entries_and_else_a_row_a_journey(running: Running, relay: Relay) -> None:
    """A script must not get now the one and now the other."""
    one = put(running, came(), tried())
    entries = [json.loads(line) for line in relay("trace", "--json", one)[1].splitlines()]
    assert [entry["step"] for entry in entries] == ["accepted", "attempted"]
    (row,) = [json.loads(line) for line in relay("trace", "--json", "bob@example.net")[1].splitlines()]
    assert (row["id"], row["state"]) == (one, "delivered")
    assert set(row) == {
        *("id", "at", "sender", "recipients", "recipient_count", "client", "message_id"),
        *("size", "state", "last_at", "last"),
    }


def test_times_are_written_as_people_do(running: Running, relay: Relay) -> None:
    put(running, came(at=time.time() - 3600))
    for since in ("2h", "2 hours", "1h30m", time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))):
        assert relay("trace", "--since", since)[0] == 0, since
    assert relay("trace", "--since", "30m")[0] == 65
    assert relay("trace", "--until", "30m")[0] == 0
    assert relay("trace", "--until", "2026-01-01 10:00")[0] == 65
    code, _, err = relay("trace", "--since", "yesterday")
    assert code == 64
    assert "write how long ago" in err


def test_what_nothing_is_known_of_is_said(running: Running, relay: Relay) -> None:
    code, out, err = relay("trace", "nobody@example.net")
    assert (code, out) == (65, "")
    assert err.startswith("relay: the journal knows nothing of nobody@example.net\n")
    assert "journal.keep" in err


def test_what_a_peer_said_cannot_reach_the_terminal(running: Running, relay: Relay) -> None:
    """A reply, an address or a name may hold what a terminal obeys."""
    evil = "\x1b]0;evil\x07\x9b31m"
    account = Account(NOW, evil)
    account.add(evil, evil, [(NOW, evil), (NOW, evil.encode()), (NOW, reply(250, "", evil))])
    session = journey.session(evil, evil, evil, evil, evil, evil, evil, evil, True, evil, evil)
    one = put(
        running,
        (NOW, journey.accepted(session, evil, 1, evil, 1, [journey.judged(evil, evil, evil, evil, [evil], 1, evil)])),
        (NOW, journey.attempted(account, NOW, evil, [journey.became(0, evil, "failed", evil, evil)])),
        (NOW, journey.changed("held", evil, evil, (0,))),
        (NOW, journey.warned([(0, evil, evil)])),
        (NOW, journey.reported(evil, [evil], (0,))),
        (NOW, journey.set_aside(evil)),
    )
    two = put(running, (NOW, journey.refused(session, evil, 1, evil, evil, evil, evil, evil, [journey.named(evil)])))
    for what in (one, two, None):
        code, out, err = relay("trace", *([what] if what else []))
        assert (code, err) == (0, "")
        assert "evil" in out
        assert all(line.isprintable() for line in out.replace("\t", "").split("\n"))


def test_it_can_be_followed_to_its_end(running: Running, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    one = put(running, came())
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            finish(running, one, tried())

    monkeypatch.setattr(time, "sleep", wait)
    code, out, _ = relay("trace", "--follow", one)
    assert code == 0
    assert len(waits) == 2
    assert out.count("accepted") == 1
    assert "delivered" in out
    put(running, came())
    assert relay("trace", "--follow", "bob@example.net")[0] == 64


def test_the_journal_of_a_relay_that_is_not_running_is_read_from_the_disk(tmp_path: Path, relay: Relay) -> None:
    spools = [tmp_path, tmp_path / "shards" / "1"]
    ids = []
    for shard, spool in enumerate(spools):
        store = SqliteStore(spool, clock=clock_at(), executors=inline(), reserve_octets=0, shard=shard)
        ids += [queue(store, entries=[came(), tried()]).id for _ in range(2)]
        now(store.close())
    code, out, err = relay("trace")
    assert code == 0
    assert "no relay is running" in err
    assert [line.split("\t")[0] for line in out.splitlines()] == sorted(ids, reverse=True)
    assert relay("trace", ids[3])[1].startswith(ids[3])
    assert relay("trace", "000000000000")[0] == 65
    assert len(relay("trace", "--limit", 3)[1].splitlines()) == 3


def test_without_any_queue_it_is_said_how_to_start(relay: Relay) -> None:
    code, _, err = relay("trace")
    assert code == 69
    assert "relay run" in err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "+0.00s"),
        (0.123, "+0.12s"),
        (45.9, "+45s"),
        (90, "+1m 30s"),
        (300, "+5m"),
        (7200, "+2h"),
        (90061, "+1d 1h"),
    ],
)
def test_how_long_after(seconds: float, words: str) -> None:
    assert after(seconds) == words
