"""The file of the addresses that exist, as it is written, broken and taken away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.policy.policy import PolicySettings
from relay.policy.recipients import RecipientList
from relay.receive.recipients import RecipientFile
from tests.receive.visit import HOSTNAME, STRANGER, House


class Watched:
    """A watched file.  ``known`` is the list in force."""

    def __init__(self, path: Path, text: str | None = "ann@ours.example\n", aside: bool = False) -> None:
        self.path = path
        self.clock = Clock()
        self.known: set[str] | None = None
        self.stamp = 1_700_000_000_000_000_000
        self.told: list[tuple[str, dict[str, object]]] = []
        self.reading: list[Callable[[], None]] = []
        if text is not None:
            self.write(text)
        in_thread = {"in_thread": self.aside} if aside else {}
        self.file = RecipientFile(path, self.clock, self.tell, self.learned, **in_thread)
        self.file.start()

    def tell(self, step: str, /, **fields: object) -> None:
        self.told.append((step, fields))

    def learned(self, recipients: RecipientList) -> None:
        self.known = set(recipients.lines)

    def aside(self, read: Callable[[], RecipientList]) -> Deferred[RecipientList]:
        fired: Deferred[RecipientList] = Deferred()
        self.reading.append(lambda: fired.callback(read()))
        return fired

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        # Two writes within one tick of the disk's clock must still differ, as they do in a person's hands.
        self.stamp += 1_000_000_000
        os.utime(self.path, ns=(self.stamp, self.stamp))

    def later(self, seconds: int = 3) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def troubles(self) -> list[str]:
        return [f"{fields['place']}: {fields['error']}" for step, fields in self.told if step == "trouble"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipients"


def test_the_file_is_read_before_anything_else(path: Path) -> None:
    assert Watched(path).known == {"ann@ours.example"}


def test_a_changed_file_is_read_again(path: Path) -> None:
    watched = Watched(path)
    watched.write("bob@ours.example\n")
    watched.later()
    assert watched.known == {"bob@ours.example"}
    assert not watched.troubles()


def test_a_file_that_did_not_change_is_not_read_again(path: Path) -> None:
    watched = Watched(path)
    watched.later(20)
    assert [step for step, _ in watched.told] == ["reloaded"]


def test_a_faulty_file_leaves_the_old_list_in_force_and_is_told_once(path: Path) -> None:
    watched = Watched(path)
    watched.write("ann@ours.example\nbob@@ours.example\n")
    watched.later(20)
    assert watched.known == {"ann@ours.example"}
    (trouble,) = watched.troubles()
    assert trouble.startswith(f"{path}:2: ")
    watched.write("bob@ours.example\n")
    watched.later()
    assert watched.known == {"bob@ours.example"}


def test_a_file_that_goes_away_leaves_the_old_list_in_force_and_is_told_once(path: Path) -> None:
    watched = Watched(path)
    path.unlink()
    watched.later(20)
    assert watched.known == {"ann@ours.example"}
    assert len(watched.troubles()) == 1
    watched.write("bob@ours.example\n")
    watched.later()
    assert watched.known == {"bob@ours.example"}


@pytest.mark.parametrize("text", [None, "@@\n"])
def test_a_file_that_was_never_good_gives_no_list_until_it_is(path: Path, text: str | None) -> None:
    watched = Watched(path, text)
    assert watched.known is None
    assert len(watched.troubles()) == 1
    watched.write("ann@ours.example\n")
    watched.later()
    assert watched.known == {"ann@ours.example"}


def test_octets_that_are_not_utf8_are_a_fault(path: Path) -> None:
    watched = Watched(path)
    path.write_bytes(b"ann\xff@ours.example\n")
    watched.later()
    assert watched.known == {"ann@ours.example"}
    assert len(watched.troubles()) == 1


def test_a_file_that_is_being_written_is_read_when_it_stands_still(path: Path) -> None:
    """An editor truncates, then writes: for a moment nobody exists."""
    watched = Watched(path)
    text = ""
    for number in range(5):
        text += f"u{number}@ours.example\n"
        watched.write(text)
        watched.later(1)
        assert watched.known == {"ann@ours.example"}
    watched.later(2)
    assert watched.known is not None and len(watched.known) == 5


def test_a_large_file_is_read_aside(path: Path) -> None:
    watched = Watched(path, aside=True)
    watched.write("bob@ours.example\n")
    watched.later(10)
    assert watched.known == {"ann@ours.example"}
    assert len(watched.reading) == 1
    watched.reading.pop()()
    assert watched.known == {"bob@ours.example"}


def test_nothing_is_learned_after_the_watch_has_stopped(path: Path) -> None:
    watched = Watched(path, aside=True)
    watched.write("bob@ours.example\n")
    watched.later(2)
    watched.file.stop()
    watched.reading.pop()()
    assert watched.known == {"ann@ours.example"}
    assert watched.clock.getDelayedCalls() == []


def test_reading_a_list_in_force_is_what_rcpt_sees(path: Path) -> None:
    house = House(PolicySettings(HOSTNAME, domains=("ours.example",), recipients_listed=True))
    visit = house.visit(STRANGER)
    rcpt = ("MAIL FROM:<a@b.example>", "RCPT TO:<ann@ours.example>", "RSET")
    assert visit.says(*rcpt)[1].startswith("450 4.2.1")
    path.write_text("ann@ours.example\n")

    def learned(recipients: RecipientList) -> None:
        house.policy.recipients = recipients

    RecipientFile(path, house.clock, house.tell, learned).start()
    assert visit.says(*rcpt)[1].startswith("250 2.1.5")
