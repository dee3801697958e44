"""Who may come in: names, proxies, other sites, tokens, sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.operate.web.entry import IDLE_S, SESSIONS_LIMIT
from tests.operate.web.browsing import NOW, TOKEN, Answer, Browser, Page, asked_of, browser


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\nwhat follows is a comment\n", encoding="ascii")
    return path


@pytest.fixture
def open_house() -> Browser:
    return browser()


@pytest.fixture
def locked(token_file: Path) -> Browser:
    return browser(token_file=token_file)


def log_in(one: Browser, token: str = TOKEN, path: str = "/login") -> Answer:
    return one.send(Page(one.get(path).body).form("/login"), token=token)


# -- without a token -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8025",
        "LOCALHOST.",
        "relay.localhost:8025",
        "127.0.0.1:8025",
        "[::1]:8025",
        "192.168.1.7",
        "gateway.example.org",
        "Gateway.Example.ORG:8025",
        "",  # no browser leaves it out
    ],
)
def test_under_our_own_names_everybody_on_this_machine_comes_in(open_house: Browser, host: str) -> None:
    open_house.host = host
    assert open_house.get("/").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8025", "127.0.0.1.evil.example", "example.org", "xn--a", "[evil]"]
)
def test_a_foreign_name_that_leads_here_is_turned_away(open_house: Browser, host: str) -> None:
    """DNS rebinding: another site's name is made to mean 127.0.0.1, and its script then reads what we answer."""
    open_house.host = host
    for path in ("/", "/queue", "/login", "/assets/relay.css", "/nothing"):
        answer = open_house.get(path)
        assert answer.status == 421
        assert "admin.token_file" in answer.text() and "shop.example" not in answer.text()
    answer = open_house.post("/queue", {"do": "remove", "scope": "all", "agreed": "yes"})
    assert answer.status == 421
    assert asked_of(open_house).asked == []


@pytest.mark.parametrize("field", ["x_forwarded_for", "forwarded", "x_real_ip", "x_forwarded_host"])
def test_without_a_token_a_proxy_is_turned_away(open_house: Browser, field: str) -> None:
    """It stands on this machine, and passes on what comes from anywhere."""
    answer = open_house.get("/", **{field: "203.0.113.9"})
    assert answer.status == 403
    assert "proxy" in answer.text() and "admin.token_file" in answer.text()


# -- what another site has a browser send --------------------------------------------------------


@pytest.mark.parametrize(
    ("sends", "status"),
    [
        ({"sec_fetch_site": "same-origin"}, 303),
        ({"sec_fetch_site": "none"}, 303),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),  # another port of localhost is another program
        ({"origin": "http://localhost:8025"}, 303),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8025", "sec_fetch_site": "cross-site"}, 403),
        ({}, 303),  # an old browser, or none; the seal counts all the same
    ],
)
def test_what_another_site_sends_changes_nothing(open_house: Browser, sends: dict[str, str], status: int) -> None:
    form = Page(open_house.get("/destinations").body).form("/destinations", "destination")
    answer = open_house.post("/destinations", [*form.fields, ("do", "wake")], **sends)
    assert answer.status == status
    assert bool(asked_of(open_house).changes()) is (status == 303)


def test_a_form_without_its_seal_changes_nothing(open_house: Browser) -> None:
    open_house.get("/queue")
    for seal in ({}, {"seal": ""}, {"seal": "0" * 64}, {"seal": "é"}):
        answer = open_house.post("/queue", {**seal, "do": "remove", "scope": "all", "agreed": "yes"})
        assert answer.status == 403
        assert "Nothing was changed" in answer.text()
    assert asked_of(open_house).changes() == []


def test_the_seal_of_another_visitor_is_none(open_house: Browser) -> None:
    """An attacker can have a seal of his own, but not put his cookie into another's browser and read it too."""
    attacker = Browser(open_house.front, open_house.clock)
    stolen = dict(Page(attacker.get("/queue").body).form("/queue", "do").fields)["seal"]
    open_house.get("/queue")
    assert open_house.post("/queue", {"seal": stolen, "do": "retry", "id": "x"}).status == 403
    open_house.cookies.clear()
    assert open_house.post("/queue", {"seal": stolen, "do": "retry", "id": "x"}).status == 403
    assert asked_of(open_house).changes() == []


# -- with a token --------------------------------------------------------------------------------


def test_a_stranger_is_led_to_the_login_and_back(locked: Browser) -> None:
    answer = locked.get("/queue?state=held")
    assert (answer.status, answer.header("location")) == (303, "/login?next=/queue%3Fstate%3Dheld")
    form = locked.follow(answer)
    assert form.status == 200 and "token" in form.text().lower() and "Queue" not in form.text()
    answer = locked.send(Page(form.body).form("/login"), token=TOKEN)
    assert (answer.status, answer.header("location")) == (303, "/queue?state=held")
    assert "queue" in locked.follow(answer).text()


@pytest.mark.parametrize(
    "path", ["/", "/queue", "/message/cr8zj93hxf00", "/log", "/configuration", "/nothing", "/theme"]
)
def test_a_stranger_sees_nothing(locked: Browser, path: str) -> None:
    answer = locked.get(path)
    assert answer.status == 303 and answer.body == ""
    assert locked.post(path, {"do": "remove"}).status == 303
    assert asked_of(locked).asked == []


@pytest.mark.parametrize(
    "where", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y", ""]
)
def test_the_login_leads_only_to_places_of_ours(locked: Browser, where: str) -> None:
    form = Page(locked.get("/login").body).form("/login")
    assert locked.send(form, token=TOKEN, next=where).header("location") == "/"


def test_the_cookie_of_a_session_is_for_us_alone(locked: Browser) -> None:
    ((name, value, rest),) = log_in(locked).cookies()
    assert name == "relay-8025"  # cookies know no ports
    assert len(value) == 48
    assert {part.strip().lower() for part in rest.split(";")} == {"httponly", "path=/", "samesite=strict"}


def test_within_tls_the_cookie_is_for_tls_alone(locked: Browser) -> None:
    locked.sends["x-forwarded-proto"] = "https"
    ((name, _, rest),) = log_in(locked).cookies()
    assert name == "__Host-relay-8025"  # RFC 6265bis §4.1.3.2: no other host and no plain HTTP can set it
    assert "secure" in rest.lower() and "domain" not in rest.lower()


def test_a_session_has_a_new_name(locked: Browser) -> None:
    """Who had a browser keep a cookie of his choice does not know the session."""
    locked.get("/login")
    before = dict(locked.cookies)
    log_in(locked)
    assert locked.cookies != before
    fixed = Browser(locked.front, locked.clock, cookies=before)
    assert fixed.get("/queue").status == 303


def test_wrong_tokens_cost_time_and_then_nobody_listens(locked: Browser) -> None:
    waits = []
    while (answer := log_in(locked, "wrong")).status == 403:
        assert "not the token" in answer.text()
        waits.append(locked.clock.seconds() - NOW - sum(waits))
    assert waits[0] >= 0.5 and waits[3] >= 4 and max(waits) <= 9 and 10 <= len(waits) <= 12
    assert answer.status == 429 and "Too many" in answer.text()
    answer = log_in(locked)  # the right one, and too late
    assert answer.status == 429
    assert locked.get("/").status == 303
    locked.clock.advance(700)
    assert log_in(locked).status == 303
    assert locked.get("/").status == 200


def test_behind_a_proxy_who_is_locked_out_locks_out_nobody_else(locked: Browser) -> None:
    """What the proxy itself has seen stands last; what is before it, its client may have made up."""
    locked.sends["x-forwarded-for"] = "192.0.2.1, 203.0.113.66"
    while log_in(locked, "wrong").status == 403:
        pass
    locked.sends["x-forwarded-for"] = "192.0.2.77, 203.0.113.66"
    assert log_in(locked).status == 429
    locked.sends["x-forwarded-for"] = "192.0.2.1"
    assert log_in(locked).status == 303


def test_who_is_no_proxy_on_this_machine_is_himself_whomever_he_names(locked: Browser) -> None:
    locked.ip = "203.0.113.66"
    while log_in(locked, "wrong").status == 403:
        pass
    locked.sends["x-forwarded-for"] = "192.0.2.1"
    assert log_in(locked).status == 429


@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 30, "\x00"])
def test_almost_the_token_is_not_the_token(locked: Browser, wrong: str) -> None:
    assert log_in(locked, wrong).status == 403
    assert locked.get("/queue").status == 303


def test_who_logs_out_is_out_and_the_name_of_the_session_is_worth_nothing(locked: Browser) -> None:
    log_in(locked)
    kept = dict(locked.cookies)
    page = locked.get("/")
    answer = locked.send(Page(page.body).form("/logout"))
    assert answer.header("location") == "/login"
    locked.cookies = kept
    assert locked.get("/").status == 303


def test_without_a_login_there_is_nothing_to_leave(open_house: Browser) -> None:
    assert all(form.action != "/logout" for form in Page(open_house.get("/").body).forms)
    assert open_house.get("/login").header("location") == "/"


def test_a_session_ends_when_it_is_not_used_and_after_a_week_anyway(locked: Browser) -> None:
    log_in(locked)
    for _ in range(3):
        locked.clock.advance(IDLE_S - 1)
        assert locked.get("/").status == 200
    locked.clock.advance(IDLE_S + 1)
    assert locked.get("/").status == 303
    log_in(locked)
    for _ in range(14):
        locked.clock.advance(IDLE_S - 60)
        answer = locked.get("/")
    assert answer.status == 200
    locked.clock.advance(IDLE_S - 60)
    assert locked.get("/").status == 303


def test_only_so_many_sessions_are_kept_and_the_one_unused_for_longest_goes(locked: Browser) -> None:
    first = Browser(locked.front, locked.clock)
    log_in(first)
    log_in(locked)
    for _ in range(SESSIONS_LIMIT - 1):
        first.get("/")
        log_in(Browser(locked.front, locked.clock))
    assert first.get("/").status == 200
    assert locked.get("/").status == 303


def test_another_token_ends_all_sessions_and_the_same_one_none(locked: Browser, token_file: Path) -> None:
    log_in(locked)
    locked.front.reload()
    assert locked.get("/").status == 200
    token_file.write_text("another-token-that-is-long-enough\n", encoding="ascii")
    locked.front.reload()
    assert locked.get("/").status == 303
    assert log_in(locked).status == 403
    assert log_in(locked, "another-token-that-is-long-enough").status == 303


@pytest.mark.parametrize("holds", [b"", b"short\n", b"\xff" * 30, None])
def test_a_file_that_holds_no_token_any_more_lets_nobody_in(
    locked: Browser, token_file: Path, holds: bytes | None
) -> None:
    """Who changes a token means to shut somebody out: the old one must not go on, with nobody hearing of it."""
    log_in(locked)
    other = Browser(locked.front, locked.clock)
    form = Page(other.get("/login").body).form("/login")
    token_file.unlink() if holds is None else token_file.write_bytes(holds)
    locked.front.reload()
    (complaint,) = locked.front.complaints()
    assert (complaint.about, complaint.level) == ("token", "wrong") and str(token_file) in complaint.what
    for path in ("/", "/login", "/queue", "/metrics", "/api/v1/status"):
        assert locked.get(path).status == 503
        assert locked.get(path, authorization=f"Bearer {TOKEN}").status == 503
    assert other.send(form, token=TOKEN).status == 503
    assert locked.get("/health/live").status == 200, "no restart helps: it would end with this very fault"
    token_file.write_text(f"{TOKEN}\n", encoding="ascii")
    locked.front.reload()
    assert not [*locked.front.complaints()]
    assert locked.get("/").status == 303, "the sessions of before are over"
    assert log_in(locked).status == 303


def test_a_file_that_cannot_be_read_leaves_the_old_token_and_is_complained_of(
    locked: Browser, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user who works may not be allowed to read what root read at the start; a reload for the log is no reason to
    shut everybody out."""
    log_in(locked)
    with monkeypatch.context() as forbidden:
        forbidden.setattr(Path, "open", _denied)
        locked.front.reload()
    (complaint,) = locked.front.complaints()
    assert (complaint.about, complaint.level) == ("token", "soon") and "Permission denied" in complaint.what
    assert locked.get("/").status == 200
    locked.front.reload()
    assert not [*locked.front.complaints()]


def _denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_program_shows_the_token_with_every_request(locked: Browser) -> None:
    assert locked.get("/queue", authorization=f"Bearer {TOKEN}").status == 200
    assert locked.get("/queue", authorization=f"bearer  {TOKEN} ").status == 200
    assert locked.get("/queue", authorization="Bearer wrong").status == 303
    assert locked.get("/queue", authorization=f"Basic {TOKEN}").status == 303
    log_in(locked)
    assert locked.get("/queue", authorization="Bearer wrong").status == 303  # the cookie does not mend it


def test_with_a_token_any_name_and_a_proxy_are_welcome(locked: Browser) -> None:
    locked.host = "relay.example.net"
    locked.sends.update({"x-forwarded-for": "203.0.113.9", "x-forwarded-host": "relay.example.net"})
    assert log_in(locked).status == 303
    assert locked.get("/").status == 200


def test_a_link_on_another_site_does_not_log_anybody_out(locked: Browser) -> None:
    """SameSite=Strict: the browser comes without its cookie.  What our own page asks for brings it along."""
    log_in(locked)
    kept, locked.cookies = dict(locked.cookies), {}
    for path in ("/login", "/login?next=/queue"):
        answer = locked.get(path, sec_fetch_site="cross-site", sec_fetch_mode="navigate")
        assert answer.status == 200 and list(answer.cookies()) == []
        assert 'http-equiv="refresh"' in answer.body
    locked.cookies = kept
    assert locked.get("/").status == 200
