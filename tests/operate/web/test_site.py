"""The web server: fields of every response, limits, what is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.web.site import BODY_LIMIT_OCTETS, CONNECTIONS_LIMIT, Access
from tests.fakes.inquirer import FakeInquirer
from tests.operate.web.browsing import TOKEN, Browser, Wire, browser

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "server": "relay",
}


@pytest.mark.parametrize(
    "path", ["/", "/queue", "/nothing", "/assets/relay.css", "/assets/nothing", "/login", "/message/nothing", "/theme"]
)
def test_every_response_says_what_a_browser_may_do_with_it(path: str) -> None:
    for one, method in ((browser(), "GET"), (browser(), "POST"), (browser(), "HEAD"), (browser(), "DELETE")):
        answer = one.ask(method, path)
        for name, value in EVERYWHERE.items():
            assert answer.header(name) == value, (path, method, name)
        policy = dict(part.split(" ", 1) for part in (answer.header("content-security-policy") or "").split("; "))
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert "unsafe" not in str(policy)
        if not path.startswith("/assets/relay"):
            assert answer.header("cache-control") == "no-store"


def test_what_the_browser_may_keep_changes_its_address_when_it_changes() -> None:
    one = browser()
    address = re.findall(r'href="(/assets/[^"]+\.css[^"]*)"', one.get("/").body)[0]
    answer = one.get(address)
    assert answer.status == 200 and answer.header("content-type") == "text/css; charset=utf-8"
    assert "immutable" in (answer.header("cache-control") or "")
    assert one.get("/assets/relay.css").header("cache-control") == "no-store"
    assert one.get("/assets/relay.css?old").header("cache-control") == "no-store"


@pytest.mark.parametrize(
    "name", ["../page.py", "%2e%2e/page.py", "..%2fpage.py", "relay.css/", "", "templates/base.html"]
)
def test_only_assets_are_assets(name: str) -> None:
    assert browser().get(f"/assets/{name}").status == 404


def test_a_page_that_is_not_there_is_a_page_all_the_same() -> None:
    answer = browser().get("/nothing")
    assert answer.status == 404
    assert "There is no such page" in answer.text() and "Overview" in answer.text()
    for path in ("/queue/more", "/log/more"):
        assert browser().get(path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_do_nothing(method: str) -> None:
    one = browser()
    assert one.ask(method, "/queue").status in (405, 501, 400)
    assert isinstance(one.front.house.asks, FakeInquirer) and one.front.house.asks.asked == []


def test_head_is_get_without_the_body() -> None:
    head, get = browser().ask("HEAD", "/queue"), browser().ask("GET", "/queue")
    assert (head.status, head.body) == (200, "")
    assert abs(int(head.header("content-length") or 0) - int(get.header("content-length") or 0)) < 100


# -- limits --------------------------------------------------------------------------------------


def test_a_body_that_is_declared_too_large_is_refused_before_it_comes() -> None:
    one = browser()
    head = f"POST /queue HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_LIMIT_OCTETS + 1}\r\n\r\n"
    refused = one.raw(head.encode())
    assert refused.status == 413
    assert "more was sent than the 262,144 octets that are taken here; say it in several requests" in refused.body
    assert one.raw(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode()).status == 413


def test_a_body_of_pieces_is_refused_when_it_has_become_too_large() -> None:
    one = browser()
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST /queue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert one.raw(head + piece * 3 + b"0\r\n\r\n").status == 403  # as large as that it may be; it has no seal
    assert one.raw(head + piece * 100).status == 413


def test_a_branch_may_take_larger_bodies() -> None:
    class Taker(Resource):
        isLeaf = True

        def render(self, request: Any) -> bytes:
            return str(len(request.content.read())).encode()

    one = browser()
    one.front.tree.hang("taker", Taker(), Access.BEARER, limit_octets=2 * BODY_LIMIT_OCTETS)  # type: ignore[no-untyped-call]
    answer = one.ask("POST", "/taker/deeper?x=/queue", b"x" * (BODY_LIMIT_OCTETS + 1))
    assert (answer.status, answer.body) == (200, str(BODY_LIMIT_OCTETS + 1))
    assert one.ask("POST", "/taker", b"x" * (2 * BODY_LIMIT_OCTETS + 1)).status == 413


def test_a_head_without_end_is_cut_off() -> None:
    one = browser()
    assert one.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 600).status == 400
    assert one.raw(b"GET /" + b"x" * 20000).status == 414


def connected(one: Browser, says: bytes = b"") -> Any:
    channel: Any = one.front.site.buildProtocol(None)
    channel.makeConnection(Wire())
    channel.dataReceived(says)
    return channel


HALF_SAID = (
    b"",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /queue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
)


@pytest.mark.parametrize("said", HALF_SAID)
def test_who_does_not_say_what_he_wants_makes_room_for_who_does(said: bytes) -> None:
    """Slowloris: hundreds of connections, each with a letter a minute, and nobody else comes in."""
    one = browser()
    slow = [connected(one, said) for _ in range(CONNECTIONS_LIMIT)]
    assert one.get("/log").status == 200
    assert [channel.transport.aborting for channel in slow] == [True] + [False] * (CONNECTIONS_LIMIT - 1)
    for channel in slow:
        channel.connectionLost(None)
    assert not one.front.site.channels


def test_who_is_being_answered_is_not_sent_away() -> None:
    class Takes(Resource):
        isLeaf = True

        def render(self, request: Any) -> int:
            return NOT_DONE_YET

    one = browser()
    one.front.tree.hang("long", Takes(), Access.BEARER)  # type: ignore[no-untyped-call]
    channels = [connected(one, b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(CONNECTIONS_LIMIT + 1)]
    assert [channel.transport.aborting for channel in channels] == [False] * CONNECTIONS_LIMIT + [True]


def test_who_looks_on_is_let_go_at_the_end() -> None:
    one = browser()
    channel = connected(one)
    one.front.close()
    assert channel.transport.disconnecting


# -- who is told what ----------------------------------------------------------------------------


def test_branches_for_anybody_for_programs_and_for_people(tmp_path: Path) -> None:
    class Says(Resource):
        isLeaf = True

        def render(self, request: Any) -> bytes:
            return b"here"

    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    one = browser(token_file=tmp_path / "token")
    for name, access in (("open", Access.ANYBODY), ("api", Access.BEARER), ("page", Access.PERSON)):
        one.front.tree.hang(name, Says(), access)  # type: ignore[no-untyped-call]
    assert one.get("/open/x").body == "here"
    answer = one.get("/api/v1/x")
    assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer realm="relay"')
    assert one.get("/page").status == 303
    for name in ("open", "api", "page"):
        assert one.get(f"/{name}", authorization=f"Bearer {TOKEN}").body == "here"


# -- trouble -------------------------------------------------------------------------------------


def failing(error: Exception) -> Browser:
    def fail(**_: object) -> list[dict[str, Any]]:
        raise error

    return browser(FakeInquirer(dict.fromkeys(("status", "queue.list", "config", "log.tail"), fail)))


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (NotRunning("/spool"), 503, "No part of the relay answers"),
        (CannotAsk("worker 1 does not answer just now; nothing was changed, try again soon"), 503, "Worker 1 does not"),
        (Refusal("state must be one of waiting, held, owing", "request"), 400, "State must be one of"),
        (Refusal("the disk is away", "unavailable"), 503, "The disk is away."),
        (Refusal("a fault in the relay; its log has the details", "fault"), 500, "its log has the details"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/destinations", "/queue?state=x", "/configuration", "/log"])
def test_what_the_relay_says_no_to_is_said_on_a_page(path: str, error: Exception, status: int, words: str) -> None:
    answer = failing(error).get(path)
    assert answer.status == status
    assert words in answer.text()
    assert "/spool" not in answer.text()


def test_a_defect_is_logged_and_its_text_is_nobodys_business() -> None:
    from twisted.logger import globalLogPublisher

    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        answer = failing(ZeroDivisionError("a secret")).get("/")
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert answer.status == 500 and "A fault in the relay; its log has the details." in answer.text()
    assert "secret" not in answer.body
    assert any("log_failure" in event for event in events)
