"""Nothing that a peer or a message said is ever HTML: every text of every row is an attack, on every page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.fakes.inquirer import FakeInquirer, Row
from tests.operate.web.browsing import NOW, Page, browser
from tests.operate.web.scene import Scene
from tests.operate.web.test_accessible import PATHS

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</title></textarea></pre></svg><svg onload=alert(1)>",
    "\x00\x1b[31m\u202e<b>\ud800&lt;script&gt;",
)


def spoilt(value: Any, attack: str, name: str = "") -> Any:
    """Every text replaced, but for those that we choose ourselves."""
    if isinstance(value, dict):
        ours = {"step", "state", "level", "decision", "part", "what", "stands", "id"}
        ours |= {"login", "service"} if name == "details" else set()
        return {key: value[key] if key in ours else spoilt(value[key], attack, key) for key in value}
    if isinstance(value, list | tuple):
        return [spoilt(one, attack, name) for one in value]
    if isinstance(value, str):
        return f"{value[:2]}{attack}" if name == "lines" else attack
    return value


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_others_say_is_text(attack: str) -> None:
    scene = Scene(NOW)
    scene.complaints = [{"about": "disk", "level": "wrong", "what": "", "do": ""}]
    held = next(row["id"] for row in scene.rows if row["state"] == "held")
    good = scene.inquirer()

    def spoil(answer: Callable[..., Iterable[Row]]) -> Callable[..., Iterable[Row]]:
        return lambda **fields: [spoilt(row, attack) for row in answer(**fields)]

    harmless = browser(good)
    hostile = browser(FakeInquirer({do: spoil(answer) for do, answer in good.answers.items()}))
    for path in PATHS:
        path = path.replace("ID", held)
        shown = hostile.get(path)
        assert shown.status in (200, 404), (path, shown.status)
        page, before = Page(shown.body), Page(harmless.get(path).body)
        assert page.faults == [], path
        assert {one.tag for one in page.elements} <= {one.tag for one in before.elements} | {"span", "p", "a"}, path
        assert ("<script>alert" not in shown.body and "<img" not in shown.body and "{{" not in shown.body) or (
            "{{ 7 * 7 }}" in shown.body
        )
        for one in page.elements:
            assert not any(attribute.startswith("on") for attribute in one.attributes), (path, one)
            assert not one.attributes.get("href", "/").startswith("javascript"), (path, one)
        for character in "\x00\x1b\u202e\ud800":
            assert character not in shown.body, path


@pytest.mark.parametrize("attack", [*ATTACKS, '"><form action=https://evil.example>'])
def test_what_stands_in_a_url_is_text_too(attack: str) -> None:
    from urllib.parse import quote

    one = browser(Scene(NOW))
    said = quote(attack.encode("utf-8", "replace"))
    for path in (
        "/queue?sender={}",
        "/queue?state={}&after={}",
        "/trace?for={}",
        "/log?for={}&level={}",
        "/{}",
        "/message/{}",
        "/forecast?down={}&for={}",
        "/login?next={}",
        "/explain?recipients={}&client={}",
    ):
        answer = one.get(path.replace("{}", said))
        page = Page(answer.body) if answer.body else None
        assert "<script>alert" not in answer.body and "<img" not in answer.body
        for element in page.elements if page is not None else ():
            assert not any(attribute.startswith("on") for attribute in element.attributes), (path, element)
            assert element.tag != "form" or element.attributes["action"].startswith("/")
