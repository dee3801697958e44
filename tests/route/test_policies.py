"""MTA-STS policies over time: fetched, held, kept over a restart, and not taken away by whoever can break something."""

from __future__ import annotations

from twisted.internet import defer
from twisted.internet.task import Clock

from relay.route.https import Fetched, HttpsFault
from relay.route.names import TXT
from relay.route.policies import Held, Policies
from tests.fakes.names import FakeNames

DAY_S = 86_400.0


def text(mode: str = "enforce", max_age_s: int = 604_800, mx: str = "mx.example.org") -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age_s}\n".encode()


class Web:
    """A web server.

    answer  what it gives; an HttpsFault is raised
    held    requests wait until ``let_go``
    """

    def __init__(self) -> None:
        self.answer: Fetched | HttpsFault = Fetched(200, "text/plain", text())
        self.asked: list[str] = []
        self.is_held = False
        self._waiting: list[defer.Deferred[Fetched]] = []

    def __call__(self, method: str, url: str, *, limit_octets: int, timeout_s: float) -> defer.Deferred[Fetched]:
        self.asked.append(url)
        asked: defer.Deferred[Fetched] = defer.Deferred()
        self._waiting.append(asked)
        if not self.is_held:
            self.let_go()
        return asked

    def let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            if isinstance(self.answer, HttpsFault):
                asked.errback(self.answer)
            else:
                asked.callback(self.answer)


class Shelf:
    def __init__(self) -> None:
        self.text: str | None = None

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text = text


class House:
    """A domain with a record and a web server, and policies of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.names = FakeNames(self.clock)
        self.web = Web()
        self.shelf = Shelf()
        self.told: list[str] = []
        self.publish("1")
        self.begin()

    def begin(self) -> None:
        self.policies = Policies(
            self.clock, self.names, self.web, self.shelf, lambda step, /, **fields: self.told.append(str(fields))
        )
        self.policies.start()

    def publish(self, found: str) -> None:
        self.names.add("_mta-sts.example.org", TXT, f"v=STSv1; id={found};", ttl=60)

    def mode(self) -> str | None:
        asked = defer.Deferred.fromCoroutine(self.policies.policy("example.org"))
        results: list[tuple[Held | None, float]] = []
        asked.addCallback(results.append)
        ((held, _),) = results
        return held.policy.mode.value if held else None

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds // 3600)):
            self.clock.advance(3600)
        self.clock.advance(seconds % 3600)


def test_a_policy_is_fetched_once_for_its_record() -> None:
    house = House()
    assert [house.mode() for _ in range(3)] == ["enforce"] * 3
    assert house.web.asked == ["https://mta-sts.example.org/.well-known/mta-sts.txt"]


def test_a_domain_without_a_record_is_not_asked_for_a_policy() -> None:
    house = House()
    house.names.remove("_mta-sts.example.org")
    assert house.mode() is None
    assert house.web.asked == []


def test_many_who_ask_at_once_ask_the_web_server_once() -> None:
    house = House()
    house.web.is_held = True
    results: list[tuple[Held | None, float]] = []
    for _ in range(5):
        defer.Deferred.fromCoroutine(house.policies.policy("example.org")).addCallback(results.append)
    assert len(house.web.asked) == 1
    house.web.let_go()
    assert len(results) == 5 and all(held is not None for held, _ in results)


def test_a_new_record_brings_a_new_policy() -> None:
    house = House()
    assert house.mode() == "enforce"
    house.web.answer = Fetched(200, "text/plain", text("testing"))
    assert house.mode() == "enforce"
    house.publish("2")
    house.later(120)
    assert house.mode() == "testing"


def test_who_suppresses_the_record_or_the_web_server_gains_nothing() -> None:
    """RFC 8461 §5.1, §10.2: the held policy is in force until it expires."""
    house = House()
    assert house.mode() == "enforce"
    for attack in (
        lambda: house.names.remove("_mta-sts.example.org"),
        lambda: house.names.trouble("_mta-sts.example.org", "TXT"),
        lambda: house.publish("2"),
    ):
        attack()
        house.web.answer = HttpsFault("connection", "refused")
        house.later(600)
        assert house.mode() == "enforce"


def test_a_policy_expires() -> None:
    house = House()
    house.web.answer = Fetched(200, "text/plain", text(max_age_s=3600))
    assert house.mode() == "enforce"
    house.names.remove("_mta-sts.example.org")
    house.later(3601)
    assert house.mode() is None


def test_a_policy_is_fetched_again_ahead_of_its_end() -> None:
    """RFC 8461 §10.2: else who blocks the fetch just waits for the end."""
    house = House()
    house.web.answer = Fetched(200, "text/plain", text(max_age_s=2 * 86_400))
    assert house.mode() == "enforce"
    house.later(3 * DAY_S)
    assert len(house.web.asked) >= 3
    house.names.trouble("_mta-sts.example.org", "TXT")
    house.web.answer = HttpsFault("connection", "refused")
    assert house.mode() == "enforce"


def test_a_policy_survives_a_restart() -> None:
    house = House()
    assert house.mode() == "enforce"
    house.policies.stop()
    house.web.answer = HttpsFault("connection", "refused")
    house.names.trouble("_mta-sts.example.org", "TXT")
    house.begin()
    assert house.mode() == "enforce"


def test_what_was_broken_on_the_shelf_is_nothing() -> None:
    for broken in ("", "{", "[]", '{"example.org": 1}', '{"example.org": [1, 2, "enforced", 4, []]}'):
        house = House()
        house.shelf.text = broken
        house.begin()
        assert house.mode() == "enforce"


def test_what_is_no_policy_is_none_and_not_asked_for_again_soon() -> None:
    """RFC 8461 §3.3: not a 200, a redirect, another type, no policy: as if there were none; again after 5 minutes."""
    for answer in (
        Fetched(404, "text/plain", text()),
        Fetched(301, "text/plain", text()),
        Fetched(200, "text/html", text()),
        Fetched(200, "text/plain", b"<html>"),
        HttpsFault("certificate", "TLS failed"),
        HttpsFault("size", "too large"),
        HttpsFault("time", "no answer in time"),
    ):
        house = House()
        house.web.answer = answer
        assert [house.mode() for _ in range(3)] == [None] * 3
        assert len(house.web.asked) == 1
        assert "cannot be had" in house.told[0]
        house.later(301)
        house.web.answer = Fetched(200, "text/plain", text())
        assert house.mode() == "enforce"


def test_a_policy_of_mode_none_is_none() -> None:
    house = House()
    house.web.answer = Fetched(200, "text/plain", b"version: STSv1\nmode: none\nmax_age: 86400\n")
    assert house.mode() is None
    assert house.mode() is None
    assert len(house.web.asked) == 1


def test_nothing_is_left_when_it_stops() -> None:
    house = House()
    house.mode()
    house.policies.stop()
    assert not house.clock.getDelayedCalls()
    assert house.shelf.text and "mx.example.org" in house.shelf.text


def test_policies_apart_hold_the_same_and_what_they_learn_is_kept_nowhere() -> None:
    house = House()
    assert house.mode() == "enforce"
    house.later(6)
    saved, asked = house.shelf.text, len(house.web.asked)
    apart = house.policies.apart(house.names)
    results: list[tuple[Held | None, float]] = []
    defer.Deferred.fromCoroutine(apart.policy("example.org")).addCallback(results.append)
    assert results[0][0] is not None and len(house.web.asked) == asked
    house.publish("2")
    house.web.answer = Fetched(200, "text/plain", text("testing"))
    defer.Deferred.fromCoroutine(apart.policy("example.org")).addCallback(results.append)
    assert results[1][0] is not None and results[1][0].policy.mode.value == "testing"
    house.web.answer = HttpsFault("status", "broken")
    house.publish("3")
    defer.Deferred.fromCoroutine(apart.policy("example.org")).addCallback(results.append)
    house.later(60)
    assert (house.shelf.text, house.told) == (saved, [])
    house.web.answer = Fetched(200, "text/plain", text("enforce"))
    assert house.mode() == "enforce"
