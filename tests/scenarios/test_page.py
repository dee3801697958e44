"""The page, in a real browser, of a real relay whose next hop is down."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from relay.operate.together import Together
from tests.fakes.authority import issue
from tests.scenarios.browser import CONTRAST, CUT, FOCUS, PHONE, SMALL, chromium, window
from tests.scenarios.peers import Relay, free_port, running_relay, wait_until

pytestmark = pytest.mark.endtoend

PATHS = ("/", "/queue", "/destinations", "/trace", "/explain", "/forecast", "/configuration?all=1", "/log")
HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)>'
TOKEN = "0123456789abcdef0123456789abcdef"


@dataclass
class House:
    relay: Relay
    address: str

    def send(self, sender: str, *recipients: str, subject: str = "hello") -> None:
        with smtplib.SMTP("127.0.0.1", self.relay.port) as client:
            client.sendmail(sender, list(recipients), f"Subject: {subject}\r\n\r\nIt works.\r\n".encode())

    def ids(self) -> list[str]:
        with Together(self.relay.spool) as control:
            return sorted({row["id"] for row in control.ask("queue.list")})

    def errors(self) -> list[str]:
        with Together(self.relay.spool) as control:
            return [row["error"] for row in control.ask("queue.list")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    port, nobody = free_port(), free_port()
    config = (
        f'admin: {{http: "tcp:{port}:interface=127.0.0.1"}}\nworkers: 2\n'
        f'routes:\n  - {{to: "*", via: "smtp://127.0.0.1:{nobody}"}}\n'
    )
    with running_relay(tmp_path_factory.mktemp("page"), config) as relay:
        found = House(relay, f"http://127.0.0.1:{port}")
        for number in range(5):
            found.send("ann@example.org", f"bob{number}@example.net", "carla@example.net", subject=HOSTILE)
        found.send("eve@example.org", '"<b>x</b>"@example.net')
        wait_until(lambda: any(found.errors()), "the first attempt")
        yield found


def test_every_page_can_be_read_by_day_and_by_night_and_fits_a_phone(browser: Browser, house: House) -> None:
    paths = [*PATHS, f"/message/{house.ids()[0]}", "/nothing", "/queue?sender=nobody@example.org"]
    for scheme in ("light", "dark"):
        with window(browser, house.address, ("404",), color_scheme=scheme, viewport=PHONE) as phone:
            for path in paths:
                page = phone.go(path)
                assert page.evaluate(CONTRAST) == [], (path, scheme)
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= PHONE["width"], (path, width)
                assert page.evaluate(SMALL) == [], path
                if scheme == "light":
                    for width in (640, 900, 1024, 1160, 1280, 1800):
                        page.set_viewport_size({"width": width, "height": 800})
                        assert page.evaluate(CUT) == [], (path, width)
                    assert page.evaluate(CONTRAST) == [], path
                    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})


def test_everything_can_be_done_without_a_script(browser: Browser, house: House) -> None:
    with window(browser, house.address, java_script_enabled=False) as plain:
        page = plain.go("/")
        for name in ("Queue", "Destinations", "Trace", "Explain", "Forecast", "Configuration", "Log", "Overview"):
            page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
        page.get_by_role("button", name="Dark").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Queue").click()
        hold(page, "ann@example.org")
        page.get_by_role("link", name="All", exact=True).click()
        page.get_by_label("Choose", exact=False).nth(1).check()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Remove:")
        before = len(house.ids())
        page.get_by_role("button", name="Yes, remove").click()
        expect(page.get_by_role("status")).to_contain_text("removed")
        assert len(house.ids()) == before - 1
        page.get_by_role("link", name="Destinations", exact=True).click()
        page.get_by_label("Leave smtp:").first.click()
        page.get_by_role("button", name="15 minutes").first.click()
        expect(page.get_by_role("status")).to_contain_text("left in peace for 15 min")
        page.get_by_role("button", name="Try smtp:").first.click()
        expect(page.get_by_role("status")).to_contain_text("is tried now")


def hold(page: Page, sender: str) -> None:
    """All of a sender, by way of a search and the question whether it is meant."""
    page.get_by_label("Sender", exact=True).fill(sender)
    page.get_by_role("button", name="Search").click()
    page.get_by_label("With which messages").select_option("all")
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("main")).to_contain_text("all that fits this search")
    page.get_by_role("button", name="Yes, hold").click()
    expect(page.get_by_role("status")).to_contain_text("held")


def test_the_numbers_follow_by_themselves(browser: Browser, house: House) -> None:
    with window(browser, house.address) as lively:
        page = lively.go("/")
        figure = page.locator("#figures .figure b").first
        before = int(figure.inner_text())
        expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "true")
        page.locator("#hour summary").click()  # what somebody opened stays open
        page.get_by_role("heading", name="The last hour", exact=True).click()
        house.send("live@example.org", "bob@example.net")
        expect(figure).to_have_text(str(before + 1), timeout=15_000)
        assert page.locator("#hour details").get_attribute("open") is not None
        page.locator("svg[data-chart]").hover()
        expect(page.locator("[data-readout]")).to_contain_text("accepted")
        page.get_by_role("button", name="Live").click()
        expect(page.get_by_role("button", name="Paused")).to_be_visible()


def test_it_can_be_used_by_keyboard_alone(browser: Browser, house: House) -> None:
    with window(browser, house.address) as keys:
        page = keys.go("/")
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS)["name"] == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        keys.go("/")
        walk_to(page, "Queue")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
        walk_to(page, "Choose all messages of this page")
        page.keyboard.press("Space")
        count = page.locator("input[name=id]:checked").count()
        assert count == len(house.ids())
        walk_to(page, "Remove")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"Remove {count} messages for good?")
        assert page.evaluate(FOCUS)["name"] == "No, leave it"
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert page.evaluate(FOCUS)["name"] == "Remove"
        assert len(house.ids()) == count


def walk_to(page: Page, name: str) -> None:
    """By Tab, as long as it takes; wherever the focus is, it is seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["outlined"], focus
        if focus["name"] == name:
            return
    raise AssertionError(f"nothing of the name {name} was reached")


def test_a_message_is_shown_and_not_obeyed(browser: Browser, house: House) -> None:
    with window(browser, house.address) as one:
        for message in house.ids():
            page = one.go(f"/message/{message}")
            assert "taken" not in page.title()
            assert page.locator("img").count() == 0 and page.locator("main b").count() == 0
        one.go("/queue")
        assert page.locator("main b").count() == 0
        subjects = [one.go(f"/message/{message}").locator("pre.header").inner_text() for message in house.ids()]
        assert any(f"Subject: {HOSTILE}" in subject for subject in subjects)


def test_removing_asks_and_then_does(browser: Browser, house: House) -> None:
    house.send("dialog@example.org", "bob@example.net")
    with window(browser, house.address) as one:
        page = one.go("/queue?sender=dialog@example.org")
        page.get_by_label("Choose", exact=False).nth(1).check()
        expect(page.locator("[data-ticked]")).to_have_text("1 message chosen")
        page.get_by_role("button", name="Remove").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_role("status")).to_contain_text("1 recipient is removed")
        expect(page.get_by_role("main")).to_contain_text("Nothing fits")


def test_light_and_dark_are_kept(browser: Browser, house: House) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with window(browser, house.address, color_scheme="dark") as one:
        page = one.go("/")
        night = page.evaluate(paper)
        page.get_by_role("button", name="Light", exact=True).click()
        day = page.evaluate(paper)
        assert day != night
        one.go("/log")
        assert page.evaluate(paper) == day
        expect(page.get_by_role("button", name="Light", exact=True)).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="As the system has it").click()
        assert page.evaluate(paper) == night


def test_with_a_token_and_tls_a_browser_logs_in_and_out(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    certificate, key = issue("localhost").write(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="ascii")
    config = (
        f"tls: {{certificate: {certificate}, key: {key}}}\n"
        f'admin: {{http: "tcp:{port}", token_file: {tmp_path}/token, tls: true}}\n'
    )
    refused = ("403",)
    with (
        running_relay(tmp_path, config) as relay,
        window(browser, f"https://localhost:{port}", refused, ignore_https_errors=True) as one,
    ):
        page = one.go("/queue")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("This is not the token.")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
        assert page.evaluate("document.cookie") == ""
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict"
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        one.go("/queue")
        expect(page.get_by_label("Token")).to_be_visible()
        assert ssl.get_server_certificate(("127.0.0.1", port))
        assert TOKEN not in relay.said()
