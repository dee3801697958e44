"""Every page as a screen reader and a keyboard meet it, found out without a browser: each rule for each page.

The pages come from scenes in which a lot goes on, and nothing at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.operate.web.browsing import NOW, Browser, Element, Page, browser
from tests.operate.web.scene import Scene

PATHS = (
    "/",
    "/queue",
    "/queue?state=held&domain=shop.example",
    "/queue?sender=nobody@example.org",
    "/destinations",
    "/trace",
    "/trace?for=ann@example.org",
    "/explain",
    "/explain?sender=ann@example.org&recipients=bob@example.net",
    "/forecast",
    "/configuration",
    "/configuration?all=1",
    "/log",
    "/log?for=nowhere",
    "/nothing",
    "/message/ID",
)


def pages() -> Iterator[tuple[str, Page, str]]:
    for kind in ("busy", "idle"):
        scene = Scene(NOW)
        held = next(row["id"] for row in scene.rows if row["state"] == "held")
        if kind == "idle":
            scene.rows.clear()
        one = browser(scene)
        for path in PATHS:
            body = one.get(path.replace("ID", held)).body
            yield f"{path} ({kind})", Page(body), body
    yield from ((f"{name} (other)", Page(body), body) for name, body in _others())


def _others() -> Iterator[tuple[str, str]]:
    one = browser(Scene(NOW))
    form = Page(one.get("/queue").body).form("/queue", "do")
    yield "confirm", one.send(form, ("do", "remove"), scope="all").body
    yield "turned away", Browser(one.front, one.clock, host="evil.example").get("/").body


@pytest.fixture(scope="module")
def every_page() -> list[tuple[str, Page, str]]:
    found = list(pages())
    assert len(found) == 2 * len(PATHS) + 2
    return found


def named(page: Page, element: Element) -> str:
    """The accessible name of an element, as far as these pages need it (accname 1.2)."""
    for reference in element.attributes.get("aria-labelledby", "").split():
        return next((one.text for one in page.elements if one.attributes.get("id") == reference), "")
    label = element.attributes.get("aria-label", "")
    if label or element.tag in ("button", "a", "summary"):
        return label or element.text
    wanted = element.attributes.get("id", "")
    return "".join(one.text for one in page.all("label") if wanted and one.attributes.get("for") == wanted)


def test_it_is_well_formed(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        assert page.faults == [], name


def test_every_page_has_language_title_one_main_and_one_first_heading(
    every_page: list[tuple[str, Page, str]],
) -> None:
    for name, page, _ in every_page:
        assert page.all("html")[0].attributes["lang"] == "en", name
        assert page.all("title")[0].text.strip(), name
        assert len(page.all("main")) == 1, name
        assert len(page.all("h1")) == 1, name


def test_headings_skip_no_level(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        levels = [int(one.tag[1]) for one in page.elements if re.fullmatch("h[1-6]", one.tag)]
        assert levels[0] == 1, (name, levels)
        assert all(later <= before + 1 for before, later in pairwise(levels)), (name, levels)


def test_everything_that_is_filled_in_or_pressed_has_a_name(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        for one in page.elements:
            is_field = one.tag in ("input", "select", "textarea") and one.attributes.get("type") != "hidden"
            if is_field or one.tag in ("button", "a", "summary"):
                assert named(page, one).strip(), (name, one)


def test_landmarks_of_one_kind_have_different_names(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        marks = [
            (kind, named(page, one).strip())
            for one in page.elements
            for kind in [one.attributes.get("role") or one.tag]
            if kind in ("nav", "section", "search", "region", "group")
        ]
        assert all(label for _, label in marks), (name, marks)
        doubled = [mark for mark, times in Counter(marks).items() if times > 1 and mark[0] != "region"]
        assert doubled == [], (name, doubled)


def test_pictures_have_words_or_are_passed_over(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        for one in page.all("svg"):
            is_picture = one.attributes.get("role") == "img" and one.attributes.get("aria-label", "").strip()
            assert is_picture or one.attributes.get("aria-hidden") == "true", (name, one.attributes)


def test_tables_say_what_their_columns_and_rows_are(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        for one in page.all("th"):
            assert one.attributes.get("scope") in ("col", "row"), (name, one)
            assert one.text.strip() or "tick" in one.attributes.get("class", ""), (name, one)
        for table in page.all("table"):
            # Cards are blocks to the style sheet; without roles they would be no table to a screen reader then.
            if "cards" in table.attributes.get("class", ""):
                assert table.attributes.get("role") == "table", name


def test_what_can_scroll_can_be_reached_by_keyboard(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        for one in page.elements:
            if "scroll" in one.attributes.get("class", "").split():
                assert one.attributes.get("tabindex") == "0", (name, one.attributes)


def test_no_id_is_given_twice_and_every_reference_leads_somewhere(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        ids = Counter(one.attributes["id"] for one in page.elements if "id" in one.attributes)
        assert [one for one, times in ids.items() if times > 1] == [], name
        for one in page.elements:
            for attribute in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
                assert all(wanted in ids for wanted in one.attributes.get(attribute, "").split()), (name, one)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(every_page: list[tuple[str, Page, str]]) -> None:
    """The content security policy would refuse it; and a mail relay's page asks nobody for anything."""
    for name, page, body in every_page:
        for one in page.elements:
            handlers = [attribute for attribute in one.attributes if attribute.startswith("on")]
            assert handlers == [] and "style" not in one.attributes, (name, one)
            assert one.tag not in ("style", "iframe", "img", "object", "embed", "base"), (name, one.tag)
            if one.tag == "script":
                assert one.attributes["src"].startswith("/assets/") and not one.text, name
            for attribute in ("href", "src", "action", "formaction"):
                where = one.attributes.get(attribute, "/")
                assert re.match(r"/(?!/)|#", where), (name, where)
        assert "http://" not in body.replace("http://www.w3.org", ""), name


def test_every_form_that_changes_something_is_sealed(every_page: list[tuple[str, Page, str]]) -> None:
    for name, page, _ in every_page:
        for form in page.forms:
            seals = [value for field, value in form.fields if field == "seal"]
            assert len(seals) == (1 if form.method == "post" else 0), (name, form.action)
            assert all(re.fullmatch("[0-9a-f]{64}", seal) for seal in seals), name


def test_the_page_that_one_is_on_is_marked() -> None:
    one = browser(Scene(NOW))
    for path in ("/", "/queue", "/destinations", "/trace", "/explain", "/forecast", "/configuration", "/log"):
        current = [a for a in Page(one.get(path).body).all("a") if a.attributes.get("aria-current") == "page"]
        assert [a.attributes["href"] for a in current] == [path]


def test_the_login_is_as_good() -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = Path(folder) / "token"
        file.write_text("0123456789abcdef", encoding="ascii")
        one = browser(Scene(NOW), file)
        page = Page(one.get("/login").body)
        assert page.faults == [] and len(page.all("h1")) == 1
        (field,) = [one for one in page.all("input") if one.attributes.get("type") == "password"]
        assert named(page, field) == "Token" and field.attributes["autocomplete"] == "current-password"
        wrong = one.send(page.form("/login"), token="wrong")
        page = Page(wrong.body)
        (field,) = [one for one in page.all("input") if one.attributes.get("type") == "password"]
        assert field.attributes["aria-invalid"] == "true" and field.attributes["aria-describedby"] == "wrong"
        assert "This is not the token." in wrong.text()
        assert "wrong" not in [one.attributes.get("value") for one in page.all("input")]
