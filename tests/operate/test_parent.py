"""The parent of several workers, with processes that are only played."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.operate.config import Config, ConfigFaults, load
from relay.operate.parent import FIRST_WAIT_S, GRACE_S, LOOK_S, LOOKS, STEADY_S, CannotBegin, Parent
from relay.operate.places import Fault, Place
from relay.operate.workers import Line


class Played:
    """Processes that begin, say words and end as the test wishes.

    first  what each says first; empty: it ends without a word
    """

    def __init__(self) -> None:
        self.first = b"ready\n"
        self.forked: list[int] = []
        self.killed: list[int] = []
        self.codes: dict[int, int | None] = {}
        self.lines: dict[int, Line] = {}
        self._pid = 100

    def fork(self, worker: int) -> tuple[int, socket.socket]:
        ours, its = socket.socketpair()
        its.sendall(self.first)
        its.close()
        self._pid += 1
        self.forked.append(worker)
        self.codes[self._pid] = None
        return self._pid, ours

    def take_line(self, end: socket.socket, line: Line) -> None:
        end.close()
        line.makeConnection(StringTransport())
        self.lines[self._pid if len(self.lines) >= 2 else 101 + len(self.lines)] = line

    def kill(self, pid: int) -> None:
        self.killed.append(pid)
        self.codes[pid] = -9

    def ended(self, pid: int) -> int | None:
        return self.codes[pid]

    # -- what the test does

    def says(self, pid: int, word: bytes) -> None:
        self.lines[pid].dataReceived(word + b"\n")

    def ends(self, pid: int, code: int | None = 0) -> None:
        """Lets go of its line; code None: and goes on."""
        self.codes[pid] = code
        self.lines[pid].connectionLost()

    def heard(self, pid: int) -> list[bytes]:
        transport = self.lines[pid].transport
        assert isinstance(transport, StringTransport)
        words = transport.value().splitlines()
        transport.clear()
        return words


class House:
    def __init__(self, config: Config) -> None:
        self.clock, self.processes = Clock(), Played()
        self.told: list[tuple[str, dict[str, object]]] = []
        self.newer: Callable[[], Config] = lambda: config
        self.parent = Parent(
            config,
            self.processes,
            self.clock,
            lambda step, /, **fields: self.told.append((step, fields)),
            lambda: self.newer(),
        )

    def steps(self) -> list[str]:
        return [step for step, _ in self.told]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "relay.yaml"
    file.write_text("hostname: relay.example.org\nworkers: 2\n", encoding="ascii")
    return load(file)


@pytest.fixture
def house(config: Config) -> House:
    found = House(config)
    found.parent.startService()
    found.told.clear()
    return found


def test_it_has_begun_when_all_workers_have(config: Config) -> None:
    house = House(config)
    house.parent.startService()
    assert house.processes.forked == [0, 1]
    assert house.told == [("started", house.told[0][1])]
    assert house.told[0][1]["workers"] == 2


def test_a_worker_that_cannot_start_ends_the_start_with_its_sentence(config: Config) -> None:
    """A wrong configuration must not become a relay that begins workers for ever."""
    house = House(config)
    house.processes.first = b"failed the spool is in use by process 7\n"
    with pytest.raises(CannotBegin, match=r"the spool is in use by process 7"):
        house.parent.startService()


def test_a_worker_that_dies_at_the_start_ends_it_too(config: Config) -> None:
    house = House(config)
    house.processes.first = b""
    with pytest.raises(CannotBegin, match="worker 0 ended before it could work"):
        house.parent.startService()


def test_a_worker_that_died_is_replaced_after_a_while(house: House) -> None:
    house.processes.ends(101, -9)
    assert "by signal 9" in str(house.told[0][1]["error"])
    house.clock.advance(FIRST_WAIT_S - 0.01)
    assert house.processes.forked == [0, 1]
    house.clock.advance(0.01)
    assert house.processes.forked == [0, 1, 0]


def test_the_wait_grows_and_a_steady_worker_is_forgiven(house: House) -> None:
    """A worker that dies at once, again and again, must not keep the machine busy."""
    house.processes.ends(101, 1)
    house.clock.advance(FIRST_WAIT_S)
    house.processes.ends(103, 1)
    house.clock.advance(FIRST_WAIT_S)
    assert len(house.processes.forked) == 3
    house.clock.advance(FIRST_WAIT_S)
    assert len(house.processes.forked) == 4
    house.processes.says(104, b"ready")
    house.clock.advance(STEADY_S)
    house.processes.ends(104, 1)
    house.clock.advance(FIRST_WAIT_S)
    assert len(house.processes.forked) == 5


def test_a_shard_never_has_two_workers(house: House) -> None:
    """One that has let go of its line and does not end is killed before the next one begins."""
    house.processes.ends(101, None)
    house.clock.pump([LOOK_S] * (LOOKS - 1))
    assert not house.processes.killed
    house.clock.pump([LOOK_S] * 2)
    assert house.processes.killed == [101]
    assert house.processes.forked == [0, 1]
    house.clock.pump([LOOK_S, FIRST_WAIT_S])
    assert house.processes.forked == [0, 1, 0]


def test_one_worker_after_the_other_takes_a_new_configuration(house: House) -> None:
    house.parent.reload()
    assert (house.processes.heard(101), house.processes.heard(102)) == ([b"reload"], [])
    house.processes.says(101, b"reloaded")
    assert house.processes.heard(102) == [b"reload"]
    house.parent.reload()  # meanwhile: another round follows
    house.processes.says(102, b"reloaded")
    assert house.processes.heard(101) == [b"reload"]


def test_a_worker_that_dies_in_its_turn_does_not_stop_the_others_turn(house: House) -> None:
    house.parent.reload()
    house.processes.ends(101, 1)
    assert house.processes.heard(102) == [b"reload"]


def test_a_worker_that_does_not_answer_does_not_stop_the_others_turn(house: House) -> None:
    house.parent.reload()
    house.clock.advance(60)
    assert house.processes.heard(102) == [b"reload"]


def test_of_a_faulty_configuration_workers_hear_only_that_it_is_faulty(house: House) -> None:
    """They are asked how the relay does, and the parent is not."""

    def newer() -> Config:
        raise ConfigFaults([Fault(Place("relay.yaml", 3), "vai", "there is no such key")])

    house.newer = newer
    house.parent.reload()
    faulty = b"faulty relay.yaml:3:0: vai: there is no such key"
    assert house.processes.heard(101) == house.processes.heard(102) == [faulty]
    assert "the old configuration stays in force" in str(house.told[0][1]["error"])
    house.processes.ends(101, 1)
    house.clock.pump([LOOK_S, FIRST_WAIT_S])
    house.processes.says(103, b"ready")
    assert house.processes.heard(103) == [faulty], "who begins later knows it too"


def test_the_end_waits_for_all_workers(house: House) -> None:
    ended: list[None] = []
    house.parent.stopService().addCallback(ended.append)
    assert house.processes.heard(101) == house.processes.heard(102) == [b"stop"]
    house.processes.ends(101)
    assert not ended
    house.processes.ends(102)
    assert ended == [None]
    house.clock.advance(3600)
    assert house.processes.forked == [0, 1]
    assert house.steps() == ["stopped"]


def test_a_worker_that_does_not_end_in_time_is_killed(house: House) -> None:
    ended: list[None] = []
    house.parent.stopService().addCallback(ended.append)
    house.processes.ends(102)
    house.clock.advance(house.parent.config.timeouts.shutdown_s + GRACE_S)
    assert house.processes.killed == [101]
    house.processes.ends(101, -9)
    assert ended == [None]


def test_a_stop_while_a_worker_is_to_be_replaced_begins_none(house: House) -> None:
    house.processes.ends(101, 1)
    ended: list[None] = []
    house.parent.stopService().addCallback(ended.append)
    house.processes.ends(102)
    house.clock.advance(60)
    assert ended == [None]
    assert house.processes.forked == [0, 1]
