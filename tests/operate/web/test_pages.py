"""What each page shows, and what its forms do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest

from relay.operate.asking import CannotAsk, Refusal
from relay.operate.web.pages.queue import LOOKED_THROUGH, RECIPIENTS_SHOWN, SHOWN_ON_A_PAGE
from relay.queue.ids import to_text
from tests.fakes.inquirer import FakeInquirer, Row
from tests.operate.web.browsing import NOW, Answer, Browser, Page, asked_of, browser
from tests.operate.web.scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene(NOW)


@pytest.fixture
def one(scene: Scene) -> Browser:
    return browser(scene)


def press(one: Browser, path: str, button: tuple[str, str], **filled: Any) -> Answer:
    """Looks at a page, and sends the form that has this button."""
    page = Page(one.get(path).body)
    form = next(form for form in page.forms if button in form.buttons)
    return one.send(form, button, **filled)


# -- the overview --------------------------------------------------------------------------------


def test_the_overview_tells_how_it_goes(one: Browser, scene: Scene) -> None:
    text = one.get("/").text()
    messages = len({row["id"] for row in scene.rows})
    assert f"{messages} messages queued" in text
    assert "accepted 4\u202f634" in text and "delivered 4\u202f356" in text
    assert "mx:shop.example" in text and "connection timed out" in text
    assert "5 min to 1 h" in text and "up to 5 min" in text


def test_what_is_wrong_stands_first(scene: Scene) -> None:
    text = browser(scene).get("/").text()
    assert "2 destinations rest, and 1\u202f497 recipients wait for them" in text
    assert "The oldest message has been in the queue for" in text
    scene.silent = [1]
    scene.complaints = [{"about": "disk", "level": "soon", "what": "the disk has little left", "do": "make room"}]
    text = browser(scene).get("/").text()
    assert "Worker 1 does not answer. Its mail is safe on disk" in text
    assert "The numbers here are without what is silent" in text
    assert "The disk has little left. Make room." in text
    assert text.index("Worker 1 does not") < text.index("destinations rest")
    assert "does not answer" in text[text.index("The relay") :]  # among the workers, too


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("tcp:2525:interface=127.0.0.1", "127.0.0.1:2525"),
        ("tcp6:port=26", "127.0.0.1:26"),
        ("unix:/run/relay/smtp", ""),
    ],
)
def test_who_has_no_mail_yet_is_told_where_to_send_some(scene: Scene, endpoint: str, shown: str) -> None:
    scene.rows.clear()
    text = browser(scene, listen=[{"endpoint": endpoint}]).get("/").text()
    assert (f"swaks --server {shown} --to" in text) is bool(shown) is ("swaks" in text)


def test_when_all_is_well_that_is_said(scene: Scene) -> None:
    scene.rows.clear()
    text = browser(scene).get("/").text()
    assert "All is well." in text
    assert "The queue is empty: nobody waits." in text and "Nothing was tried in the last hour." in text
    assert "Nothing waits for anybody." in text


# -- destinations --------------------------------------------------------------------------------


def test_a_destination_is_left_in_peace_and_woken(one: Browser) -> None:
    answer = press(one, "/destinations", ("do", "rest-3600"))
    assert "mx:shop.example is left in peace for 1 h." in one.follow(answer).text()
    assert "left in peace" not in one.get("/destinations").text()  # it is told once
    answer = press(one, "/destinations", ("do", "wake"))
    assert "mx:shop.example is tried now." in one.follow(answer).text()
    assert asked_of(one).changes() == [
        ("destination.rest", {"destination": "mx:shop.example", "seconds": 3600}),
        ("destination.wake", {"destination": "mx:shop.example"}),
    ]


def test_nothing_else_is_done_to_a_destination(one: Browser) -> None:
    form = Page(one.get("/destinations").body).form("/destinations", "destination")
    for do in ("", "rest-", "rest-x", "rest-²", "remove"):
        assert one.send(form, ("do", do)).status == 400
    assert asked_of(one).changes() == []


# -- the queue -----------------------------------------------------------------------------------


def ids_on(answer: Answer) -> list[str]:
    boxes = [one for one in Page(answer.body).all("input") if one.attributes.get("name") == "id"]
    return [box.attributes["value"] for box in boxes if box.attributes.get("type") == "checkbox"]


def least_next(rows: list[Row]) -> float:
    return min((row["next_at"] for row in rows if row["next_at"] is not None), default=math.inf)


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("", lambda rows: rows[0]["id"]),
        ("newest", lambda rows: -rows[0]["accepted_at"]),
        ("next", least_next),
        ("tried", lambda rows: -max(row["attempts"] for row in rows)),
        ("size", lambda rows: -rows[0]["size"]),
    ],
)
def test_the_whole_queue_is_there_page_by_page(one: Browser, scene: Scene, order: str, key: Any) -> None:
    ids: list[str] = []
    answer = one.get(f"/queue?order={order}")
    while True:
        ids += ids_on(answer)
        following = [a for a in Page(answer.body).all("a") if a.text.startswith("More")]
        if not following:
            break
        answer = one.get(following[0].attributes["href"])
    messages = {one: list(rows) for one, rows in groupby(scene.rows, lambda row: str(row["id"]))}
    assert ids == sorted(messages, key=lambda one: key(messages[one]))
    assert len(ids) > 2 * SHOWN_ON_A_PAGE


def test_an_order_keeps_to_the_search_and_a_search_to_the_order(one: Browser) -> None:
    page = Page(one.get("/queue?domain=shop.example&order=size").body)
    (newest,) = [a for a in page.all("a") if a.text == "Newest first"]
    assert newest.attributes["href"] == "/queue?domain=shop.example&order=newest"
    assert [a.text for a in page.all("a") if a.attributes.get("aria-current") == "true"] == ["Largest first"]
    assert ("order", "size") in page.form("/queue", "sender").fields


def test_an_order_that_only_a_part_of_the_queue_was_put_in_says_so() -> None:
    read = 0

    def rows(**_: object) -> Iterable[Row]:
        nonlocal read
        for number in range(10**6):
            read += 1
            yield queued(to_text(int(NOW * 1e6 + number) << 8))

    one = browser(FakeInquirer({"queue.list": rows}))
    answer = one.get("/queue?order=tried&after=50")
    assert read == LOOKED_THROUGH + 1 and len(ids_on(answer)) == SHOWN_ON_A_PAGE
    assert "only its 10\u202f000 oldest recipients were looked at" in answer.text()


@pytest.mark.parametrize(
    "said", ["order=nonsense", "order=size&after=-1", "order=size&after=9e9", "order=size&after=99999"]
)
def test_an_order_or_a_place_that_there_is_not_is_no_trouble(one: Browser, said: str) -> None:
    assert one.get(f"/queue?{said}").status == 200


def test_no_more_of_the_queue_is_read_than_is_shown() -> None:
    read = 0

    def rows(**_: object) -> Iterable[Row]:
        nonlocal read
        for number in range(10**6):
            read += 1
            yield queued(to_text(int(NOW * 1e6 + number // 40) << 8))

    one = browser(FakeInquirer({"queue.list": rows}))
    text = one.get("/queue").text()
    assert read == 40 * SHOWN_ON_A_PAGE + 1
    assert f"and {40 - RECIPIENTS_SHOWN} more" in text


def test_a_message_to_very_many_ends_the_page_and_the_next_begins_behind_it() -> None:
    first, second = to_text(int(NOW * 1e6) << 8), to_text(int(NOW * 1e6 + 1) << 8)

    def rows(after: str = "") -> Iterable[Row]:
        if after < first:
            yield from (queued(first) for _ in range(20_000))
        yield queued(second)

    one = browser(FakeInquirer({"queue.list": rows}))
    answer = one.get("/queue")
    assert ids_on(answer) == [first]
    (later,) = [a for a in Page(answer.body).all("a") if a.text.startswith("More")]
    assert ids_on(one.get(later.attributes["href"])) == [second]


def queued(message: str, **fields: object) -> Row:
    return {
        "id": message,
        "sender": "ann@example.org",
        "recipient": "bob@example.net",
        "state": "waiting",
        "destination": "mx:example.net",
        "accepted_at": NOW - 60,
        "next_at": NOW + 60,
        "attempts": 1,
        "size": 100,
        "error": "",
        **fields,
    }


def test_a_search_is_asked_as_it_was_filled_in(one: Browser) -> None:
    form = next(form for form in Page(one.get("/queue").body).forms if ("sender", "") in form.fields)
    one.send(form, sender=" ann@example.org ", domain=".example.net", state="held", recipient="", destination="")
    asked = {"sender": "ann@example.org", "domain": ".example.net", "state": "held"}
    assert asked_of(one).asked[-1] == ("queue.list", asked)


def test_a_destination_is_searched_and_changed_by_its_host(one: Browser, scene: Scene) -> None:
    page = Page(one.get("/queue?destination=smtp.provider.example").body)
    assert ("destination", "smtp.provider.example") in page.form("/queue", "sender").fields
    lanes = ["smtp:[smtp.provider.example]:587"]
    assert asked_of(one).asked[-1] == ("queue.list", {"destinations": lanes})
    answer = press(one, "/queue?destination=smtp.provider.example", ("do", "hold"), scope="all")
    assert lanes[0] in answer.text()
    one.send(Page(answer.body).form("/queue", "agreed"))
    assert asked_of(one).changes() == [("queue.hold", {"destinations": lanes})]


def test_a_search_that_finds_nothing_says_what_might_help(one: Browser) -> None:
    text = one.get("/queue?sender=nobody%40example.org").text()
    assert "Nothing fits" in text and "trace" in text
    assert 'href="/trace?for=nobody%40example.org"' in one.get("/queue?sender=nobody%40example.org").body


def test_an_empty_queue_teaches(scene: Scene) -> None:
    scene.rows.clear()
    text = browser(scene).get("/queue").text()
    assert "The queue is empty" in text and "from the moment its sender hears 250" in text


@pytest.mark.parametrize("do", ["retry", "hold", "release"])
def test_what_is_chosen_is_changed_at_once(one: Browser, scene: Scene, do: str) -> None:
    chosen = sorted({row["id"] for row in scene.rows})[:2]
    answer = press(one, "/queue", ("do", do), id=chosen, scope="chosen")
    assert asked_of(one).changes() == [(f"queue.{do}", {"ids": chosen})]
    assert "2 recipients are" in one.follow(answer).text()


def test_removing_is_asked_about_first(one: Browser, scene: Scene) -> None:
    chosen = [scene.rows[0]["id"]]
    answer = press(one, "/queue", ("do", "remove"), id=chosen, scope="chosen")
    assert answer.status == 200 and "Remove: 1 recipient" in answer.text() and "for good" in answer.text()
    assert scene.rows[0]["sender"] in answer.text()
    assert asked_of(one).changes() == []
    answer = one.send(Page(answer.body).form("/queue", "agreed"))
    assert asked_of(one).changes() == [("queue.remove", {"ids": chosen})]
    assert "removed" in one.follow(answer).text()


def test_with_a_yes_from_the_dialog_it_is_not_asked_again(one: Browser, scene: Scene) -> None:
    chosen = [scene.rows[0]["id"]]
    assert press(one, "/queue", ("do", "remove"), id=chosen, scope="chosen", agreed="yes").status == 303
    assert asked_of(one).changes() == [("queue.remove", {"ids": chosen})]


@pytest.mark.parametrize("do", ["retry", "hold", "release", "remove"])
def test_what_concerns_all_that_fit_is_asked_about_and_keeps_to_the_search(one: Browser, do: str) -> None:
    answer = press(one, "/queue?domain=shop.example&state=waiting", ("do", do), scope="all")
    assert answer.status == 200 and "all that fits this search" in answer.text()
    assert asked_of(one).changes() == []
    one.send(Page(answer.body).form("/queue", "agreed"))
    assert asked_of(one).changes() == [(f"queue.{do}", {"domain": "shop.example", "state": "waiting"})]


def test_the_whole_queue_is_meant_only_when_that_was_said_and_answered(one: Browser) -> None:
    answer = press(one, "/queue", ("do", "hold"), scope="all")
    assert "the whole queue" in answer.text()
    one.send(Page(answer.body).form("/queue", "agreed"))
    assert asked_of(one).changes() == [("queue.hold", {"all": True})]


@pytest.mark.parametrize("scope", ["chosen", "", "everything"])
def test_choosing_nothing_does_nothing(one: Browser, scope: str) -> None:
    answer = press(one, "/queue?domain=shop.example", ("do", "remove"), scope=scope, agreed="yes")
    assert "no message was chosen" in one.follow(answer).text()
    assert asked_of(one).changes() == []


def test_a_worker_that_is_away_is_told_and_nothing_is_said_to_be_done(one: Browser, scene: Scene) -> None:
    def away(**_: object) -> list[Row]:
        raise CannotAsk("worker 1 does not answer just now; nothing was changed, try again soon")

    asked_of(one).answers["queue.hold"] = away
    answer = press(one, "/queue", ("do", "hold"), id=[scene.rows[0]["id"]], scope="chosen")
    assert answer.status == 503 and "Worker 1 does not answer just now; nothing was changed" in answer.text()


# -- a message -----------------------------------------------------------------------------------


def test_a_message_that_waits_is_shown_whole_but_for_its_body(one: Browser, scene: Scene) -> None:
    row = next(row for row in scene.rows if row["state"] == "waiting")
    text = one.get(f"/message/{row['id']}").text()
    for part in (row["sender"], row["recipient"], row["destination"], "printer.lan.example", "Header section"):
        assert part in text
    assert "Subject: =?utf-8?q?Rechnung" in text  # as it stands there, and not interpreted
    assert "Attempt 3: put off" in text and "Held by an operator" in text and "Attempt 4: delivered" in text
    assert "451 4.7.1 Greylisted, try again in 300 seconds" in text
    assert "relay.yaml:30" in text


def test_a_message_that_has_left_still_has_its_journey(one: Browser, scene: Scene) -> None:
    scene.rows.clear()
    text = one.get("/message/cr8zj93hxf00").text()
    assert "not in the queue any more" in text and "Attempt 4: delivered" in text
    assert all(form.action != "/queue" for form in Page(one.get("/message/cr8zj93hxf00").body).forms)


def test_without_a_journal_a_message_in_the_queue_is_shown_all_the_same(one: Browser, scene: Scene) -> None:
    def none(**_: object) -> list[Row]:
        raise Refusal("there is no journal: the configuration says journal: none", "request")

    asked_of(one).answers["trace.show"] = none
    text = one.get(f"/message/{scene.rows[0]['id']}").text()
    assert "Nothing was written down of it. There is no journal" in text and "Envelope" in text


def test_a_relay_that_knows_of_no_journal_says_so_in_words(one: Browser, scene: Scene) -> None:
    def none(**_: object) -> list[Row]:
        raise Refusal("do must be one of config, status", "request")

    asked_of(one).answers["trace.show"] = asked_of(one).answers["trace.find"] = none
    assert "There is no journal." in one.get(f"/message/{scene.rows[0]['id']}").text()
    assert "There is no journal." in one.get("/trace").text()


def test_a_message_that_nobody_knows_is_not_found(one: Browser, scene: Scene) -> None:
    scene.rows.clear()
    asked_of(one).answers["trace.show"] = lambda **_: []
    answer = one.get("/message/000000000000")
    assert answer.status == 404 and "Nothing is known of 000000000000" in answer.text()
    assert one.get("/message").header("location") == "/queue"
    assert one.get("/message/a/b").status == 404


def test_what_is_done_to_a_message_leads_back_to_it(one: Browser, scene: Scene) -> None:
    held = next(row for row in scene.rows if row["state"] == "held")["id"]
    answer = press(one, f"/message/{held}", ("do", "release"))
    assert answer.header("location") == f"/message/{held}"
    assert asked_of(one).changes() == [("queue.release", {"ids": [held]})]
    buttons = [button for form in Page(one.get(f"/message/{held}").body).forms for button in form.buttons]
    assert ("do", "hold") not in buttons and ("do", "release") in buttons


# -- trace, log, configuration, forecast ----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ann@example.org", {"address": "ann@example.org"}),
        ("example.org", {"address": "example.org"}),
        ("<1.2@example.org>", {"message_id": "<1.2@example.org>"}),
        ("<>", {"address": "<>"}),
        ("", {}),
    ],
)
def test_what_is_looked_for_is_seen_by_its_looks(one: Browser, words: str, wanted: Row) -> None:
    from urllib.parse import quote

    one.get(f"/trace?for={quote(words)}&within=3600")
    do, fields = asked_of(one).asked[-1]
    assert do == "trace.find"
    assert fields == {**wanted, "since": NOW - 3600, "limit": 51}


def test_an_id_leads_to_its_message(one: Browser) -> None:
    assert one.get("/trace?for=cr8zj93hxf00").header("location") == "/message/cr8zj93hxf00"
    assert one.get("/queue?id=cr8zj93hxf00").header("location") == "/message/cr8zj93hxf00"
    assert one.get("/queue?id=%2F..%2Fx%0D%0AY:z").header("location") == "/message/%2F..%2Fx%0D%0AY%3Az"


def test_found_journeys_are_listed_with_what_became_of_them(one: Browser) -> None:
    text = one.get("/trace").text()
    for state in ("delivered", "failed", "queued", "refused", "mixed", "held", "removed"):
        assert state in text
    assert "and 30 more" in text


def test_without_a_journal_the_trace_says_so(one: Browser) -> None:
    def none(**_: object) -> list[Row]:
        raise Refusal("there is no journal: the configuration says journal: none", "request")

    asked_of(one).answers["trace.find"] = none
    assert "There is no journal: the configuration says journal: none." in one.get("/trace").text()


def test_the_log_is_shown_newest_first_and_searched(one: Browser) -> None:
    page = one.get("/log?level=warning").text().partition("Show")[2]
    assert page.index("rested") < page.index("trouble") and "accepted" not in page[page.index("rested") :]
    assert "disk is full" in one.get("/log?for=DISK+is").text()
    assert "No line has these words" in one.get("/log?for=nowhere").text()
    assert one.get("/log?level=<script>").status == 200
    assert asked_of(one).asked[-1] == ("log.tail", {"lines": 201, "level": "info"})


def test_the_log_tells_times_and_numbers_as_a_person_reads_them() -> None:
    row = {
        "at": NOW,
        "level": "info",
        "step": "deferred",
        "delay_s": 0.00195512999,
        "next_at": NOW + 60.25,
        "attempts": 2,
    }
    text = browser(FakeInquirer({"log.tail": lambda **_: [row]})).get("/log").text()
    assert "delay_s 0.002" in text and "next_at 2026-11-26" in text and "attempts 2" in text


def test_the_configuration_is_shown_with_the_line_of_each_key(one: Browser) -> None:
    text = one.get("/configuration").text()
    assert "hostname gateway.example.org line 10" in text
    assert "The file has 2 faults now" in text
    assert '/etc/relay/relay.yaml:52:1 retri unknown key; did you mean "retry"?' in text.replace("&#34;", '"')
    assert "warn_after" not in text
    everything = one.get("/configuration?all=1").text()
    assert "warn_after 4h default" in everything and "file none default" in everything


def test_a_changed_file_says_what_a_reload_and_what_a_restart_takes(one: Browser) -> None:
    config = next(iter(asked_of(one).answers["config"]()))
    asked_of(one).answers["config"] = lambda: [{**config, "faults": [], "reload": ["routes"], "restart": ["listen"]}]
    text = one.get("/configuration").text()
    assert "A reload takes routes" in text and "Only a restart takes listen" in text
    asked_of(one).answers["config"] = lambda: [{**config, "faults": []}]
    assert "as it was when it was loaded, and has no fault" in one.get("/configuration").text()


def test_the_forecast_is_asked_for_what_was_supposed(one: Browser) -> None:
    text = one.get("/forecast?for=86400&down=10.0.0.5+nope.example&up=smtp.provider.example").text()
    asked = {"now": NOW, "for_s": 86400.0, "down": ["10.0.0.5", "nope.example"], "up": ["smtp.provider.example"]}
    assert ("forecast", asked) in asked_of(one).asked
    assert "Nothing is supposed of nope.example" in text  # it was mistyped, and nobody was told
    assert "senders warned" in text and "The first to be given up" in text
    one.get("/forecast?for=1e99")
    assert asked_of(one).asked[-1][1]["for_s"] == 259200.0


# -- explain ------------------------------------------------------------------------------------------


def test_a_question_is_a_url_and_names_only_what_was_filled_in(one: Browser) -> None:
    form = next(form for form in Page(one.get("/explain").body).forms if ("recipients", "") in form.fields)
    answer = one.send(form, recipients="<bob@shop.example>, nobody@example.org", size="5 MiB", tls="1")
    asked = {"recipients": ["bob@shop.example", "nobody@example.org"], "size": 5 << 20, "tls": True, "probe": False}
    assert asked_of(one).asked[-1] == ("explain", asked)
    text = answer.text()
    assert "Refused: recipient nobody@example.org" in text and "add nobody@example.org to /etc/relay/recipients" in text
    assert "550 5.1.1 No such mailbox here" in text and "/etc/relay/relay.yaml:22" in text


def test_hosts_are_asked_only_by_a_form_that_is_sent(one: Browser) -> None:
    answer = one.get("/explain?recipients=bob@shop.example&probe=1")
    assert asked_of(one).asked[-1][1]["probe"] is False
    assert "It would be taken, and has a way." in answer.text()
    form = next(form for form in Page(answer.body).forms if form.method == "post" and form.action == "/explain")
    assert one.send(form).status == 200
    assert asked_of(one).asked[-1] == ("explain", {"recipients": ["bob@shop.example"], "probe": True})
    assert one.post("/explain", {"recipients": "bob@shop.example"}).status == 403
    assert len([do for do, _ in asked_of(one).asked if do == "explain"]) == 2


def test_why_a_message_is_still_here(one: Browser, scene: Scene) -> None:
    message = scene.rows[0]["id"]
    links = [a.attributes["href"] for a in Page(one.get(f"/message/{message}").body).all("a")]
    assert f"/explain?id={message}" in links
    assert one.get(f"/explain?id={message}").status == 200
    assert asked_of(one).asked[-1] == ("explain.message", {"id": message, "probe": False})


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("recipients=a@b&size=much", "is not a size"),
        ("recipients=" + "+".join(f"u{n}@example.org" for n in range(101)), "ask about 100 at most"),
    ],
)
def test_what_cannot_be_asked_is_said_and_not_asked(one: Browser, query: str, words: str) -> None:
    assert words in one.get(f"/explain?{query}").text()
    assert asked_of(one).asked == []


def test_what_the_relay_does_not_understand_is_said(one: Browser) -> None:
    def no(**_: object) -> list[Row]:
        raise Refusal("client must be an IP address, or unix, not x", "request")

    asked_of(one).answers["explain"] = no
    assert "Client must be an IP address, or unix, not x." in one.get("/explain?recipients=a@b&client=x").text()


# -- light and dark, notes ------------------------------------------------------------------------


def test_light_and_dark_are_chosen_without_a_script(one: Browser) -> None:
    page = one.get("/queue?state=held")
    assert "data-theme" not in page.body.partition("<head>")[0]
    form = Page(page.body).form("/theme")
    answer = one.send(form, ("theme", "dark"))
    assert answer.header("location") == "/queue?state=held"
    assert '<html lang="en" data-theme="dark">' in one.follow(answer).body
    one.send(form, ("theme", ""))
    assert "data-theme" not in one.get("/").body.partition("<head>")[0]
    one.cookies["relay-theme"] = '"><script>'
    assert "data-theme" not in one.get("/").body.partition("<head>")[0]


def test_a_note_waits_for_a_page_that_somebody_looks_at(one: Browser) -> None:
    press(one, "/destinations", ("do", "wake"))
    assert "is tried now" not in one.get("/destinations", x_relay_live="1").text()
    assert "is tried now" in one.get("/destinations").text()
