"""What came to the door stands in the journal: what was taken with its checks, what was refused with the rule, and
of a flood only so much."""

from __future__ import annotations

import pytest

from relay.message import journey
from relay.message.address import Address
from relay.message.journey import Row, read
from relay.policy.forward import Forward
from relay.policy.policy import PolicySettings, Service
from relay.queue.store import StoreUnavailable
from relay.receive import scribe
from relay.receive.settings import Entrance
from tests.receive.visit import HOSTNAME, STRANGER, House, Visit

FORWARDING = PolicySettings(
    HOSTNAME,
    domains=("ours.example",),
    forward={
        "sales@ours.example": Forward((Address("ann", "x.example"), Address("bob", "y.example")), place="relay.yaml:9")
    },
    place=lambda key: f"{key}!",
)
CONTENT = "Message-ID: <1@client.example>\r\nSubject: x\r\n\r\nhello\r\n."


def journal(house: House) -> list[Row]:
    """All entries, in the order in which they were written."""
    house.clock.advance(scribe.GATHERED_S)
    return [read(entry) for entries in house.store.journal.values() for entry in entries]


def send(visit: Visit, *commands: str, content: str = CONTENT) -> None:
    visit.says(*commands, "DATA")
    visit.says(*content.split("\r\n"))


def test_a_message_is_journaled_with_its_commit() -> None:
    house = House(FORWARDING, entrance=Entrance(listener="tcp:25"))
    house.names["127.0.0.1"] = "pc.example"
    send(house.visit(), "MAIL FROM:<ann@client.example> BODY=8BITMIME", "RCPT TO:<far@else.example> NOTIFY=NEVER")
    (row,) = journal(house)
    known = {name: row[name] for name in ("client", "client_name", "helo", "protocol", "listener", "service", "login")}
    assert known == {
        "client": "127.0.0.1",
        "client_name": "pc.example",
        "helo": "client.example",
        "protocol": "ESMTP",
        "listener": "tcp:25",
        "service": "relay",
        "login": None,
    }
    assert row["checks"] == [
        {"what": what, "rule": "accept.networks: 127.0.0.0/8", "place": "accept.networks[0]!"}
        for what in ("client", "sender")
    ]
    assert row["at"] == house.clock.seconds() - scribe.GATHERED_S
    assert (row["sender"], row["message_id"], row["body"]) == ("ann@client.example", "<1@client.example>", "8BITMIME")
    assert row["size"] == house.only.message.size
    assert (row["recipients"][0]["named"], row["recipients"][0]["notify"]) == ("far@else.example", 1)


def test_where_mail_goes_on_to_is_told_with_the_rule() -> None:
    house = House(FORWARDING)
    send(house.visit(), "MAIL FROM:<>", "RCPT TO:<sales@ours.example>", "RCPT TO:<eve@ours.example>")
    (row,) = journal(house)
    assert (row["sender"], row["recipient_count"]) == ("<>", 3)
    told = [(one["named"], one["rule"], one["place"], one["to"]) for one in row["recipients"]]
    assert told == [
        ("sales@ours.example", "forward: sales@ours.example", "relay.yaml:9", ["ann@x.example", "bob@y.example"]),
        ("eve@ours.example", "accept.domains: ours.example", "accept.domains[0]!", ["eve@ours.example"]),
    ]


def test_who_was_refused_is_told_in_the_message_and_by_himself() -> None:
    house = House(FORWARDING)
    visit = house.visit(STRANGER)
    send(visit, "MAIL FROM:<ann@client.example>", "RCPT TO:<far@else.example>", "RCPT TO:<eve@ours.example>")
    taken, refused = sorted(journal(house), key=lambda row: str(row["step"]))
    assert (taken["step"], refused["step"], refused["stage"]) == ("accepted", "refused", "recipient")
    assert [(one["named"], one["reply"][:3]) for one in taken["recipients"]] == [
        ("eve@ours.example", "250"),
        ("far@else.example", "550"),
    ]
    assert [one["named"] for one in refused["recipients"]] == ["far@else.example"]
    assert refused["reply"].startswith("550 5.7.1")
    assert (refused["rule"], refused["place"]) == ("not in accept.networks", "accept.networks!")
    assert (refused["client"], refused["sender"]) == (STRANGER, "ann@client.example")


def test_a_sender_who_is_refused() -> None:
    house = House(FORWARDING, Service.SUBMISSION)
    house.visit().says("MAIL FROM:<ann@nowhere> SIZE=4711")
    (row,) = journal(house)
    assert (row["stage"], row["sender"], row["size"]) == ("sender", "ann@nowhere", 4711)
    assert row["reply"].startswith("554 5.1.8")
    assert [check["what"] for check in row["checks"]] == ["client"]


def test_a_content_that_is_refused() -> None:
    house = House(FORWARDING)
    loops = "".join(f"Received: from {number}\r\n" for number in range(60))
    send(house.visit(), "MAIL FROM:<ann@x.example>", "RCPT TO:<b@y.example>", content=f"{loops}{CONTENT}")
    (row,) = journal(house)
    assert (row["stage"], row["message_id"]) == ("content", "<1@client.example>")
    assert row["reply"].startswith("554 5.4.6")
    assert [one["named"] for one in row["recipients"]] == ["b@y.example"]
    assert row["size"] > 1000


def test_a_submission_is_found_by_the_message_id_that_we_gave_it() -> None:
    house = House(FORWARDING, Service.SUBMISSION)
    send(house.visit(), "MAIL FROM:<ann@x.example>", "RCPT TO:<b@y.example>", content="Subject: x\r\n\r\n.")
    (row,) = journal(house)
    assert row["message_id"] == f"<{house.only.message.id}@{HOSTNAME}>"
    assert row["message_id"].encode() in house.only.message.head


def test_what_was_not_committed_is_not_told_of() -> None:
    house = House(FORWARDING)
    house.store.trouble["commit"] = StoreUnavailable("a broken disk")
    send(house.visit(), "MAIL FROM:<ann@x.example>", "RCPT TO:<b@y.example>")
    assert journal(house) == []


def test_of_a_flood_so_many_are_kept_and_the_others_counted() -> None:
    """Who hammers at the door does not fill the disk."""
    house = House(FORWARDING, errors_limit=10_000)
    visit = house.visit(STRANGER)
    visit.says("MAIL FROM:<ann@client.example>")
    for number in range(500):
        visit.says(f"RCPT TO:<r{number}@else.example>")
    rows = journal(house)
    assert len(rows) == scribe.KEPT
    house.clock.pump([1.0] * 70)
    (more,) = [row for row in journal(house) if "count" in row]
    assert more["count"] == 500 - scribe.KEPT
    house.clock.pump([1.0] * 70)
    assert len(journal(house)) == scribe.KEPT + 1
    assert not house.clock.getDelayedCalls() or visit


def test_refusals_are_written_together_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself would make the disk wait."""
    house = House(FORWARDING)
    written: list[int] = []
    note = house.store.note
    monkeypatch.setattr(house.store, "note", lambda entries: written.append(len(entries)) or note(entries))
    visit = house.visit(STRANGER)
    visit.says("MAIL FROM:<ann@client.example>")
    for number in range(5):
        visit.says(f"RCPT TO:<r{number}@else.example>")
    house.clock.advance(scribe.GATHERED_S)
    assert written == [5]


def test_what_is_gathered_is_written_at_the_end() -> None:
    house = House(FORWARDING)
    house.visit(STRANGER).says("MAIL FROM:<ann@client.example>", "RCPT TO:<far@else.example>")
    assert house.store.journal == {}
    assert house.factory.house.scribe is not None
    house.factory.house.scribe.stop()
    assert len(house.store.journal) == 1


def test_a_journal_that_is_off_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(FORWARDING)
    house.store.journals = False
    for made in ("accepted", "refused", "session"):
        monkeypatch.setattr(journey, made, lambda *_: pytest.fail("made in vain"))
    send(house.visit(), "MAIL FROM:<ann@x.example>", "RCPT TO:<b@y.example>")
    house.visit(STRANGER).says("MAIL FROM:<ann@client.example>", "RCPT TO:<far@else.example>")
    assert journal(house) == []
    assert len(house.stored) == 1


@pytest.mark.parametrize("broken", ["accepted", "refused"])
def test_a_defect_of_the_journal_refuses_no_mail(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(journey, broken, breaks)
    house = House(FORWARDING)
    visit = house.visit(STRANGER)
    send(visit, "MAIL FROM:<ann@client.example>", "RCPT TO:<far@else.example>", "RCPT TO:<eve@ours.example>")
    assert len(house.stored) == 1
    assert "cannot be journaled" in str(house.steps("trouble")[0]["error"])
