"""The API: the same answers as everywhere, whole or row by row, and problems in words."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from twisted.python.failure import Failure

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.together import Together
from relay.operate.web.api import destinations, journeys, overview, queue
from relay.operate.web.api.openapi import description
from relay.operate.web.api.operation import Operation
from relay.operate.web.api.topics import TOPICS
from relay.queue.store import State
from tests.fakes.inquirer import Row
from tests.operate.running import running_relay
from tests.operate.web.scene import Scene
from tests.operate.web.wire import TOKEN, Heard, Wire, heard, request_of

OPERATIONS = [operation for topic in TOPICS for operation in topic.operations]
NDJSON = "application/x-ndjson"
A = "/api/v1"


@pytest.fixture
def scene() -> Scene:
    return Scene(1_700_000_000.0)


@pytest.fixture
def wire(scene: Scene) -> Wire:
    return Wire(dict(scene.inquirer().answers))


def post(wire: Wire, path: str, body: object, **fields: str) -> Heard:
    return wire.ask("POST", A + path, json.dumps(body).encode(), **{"Content-Type": "application/json", **fields})


def problem(answer: Heard, status: int) -> str:
    """The detail of a problem, which must be one."""
    assert answer.status == status, answer.body
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])


# -- answers ---------------------------------------------------------------------------------------------------


def rows_of_queue(count: int) -> list[Row]:
    return [{"id": f"{number:08}", "recipient": "bob@a.example"} for number in range(count)]


def test_the_status_is_the_one_that_everybody_gets(wire: Wire, scene: Scene) -> None:
    answer = wire.get(f"{A}/status")
    assert (answer.status, answer.fields["content-type"]) == (200, "application/json")
    assert answer.json() == next(iter(scene.status()))


def test_the_queue_comes_in_pages_that_together_are_the_queue(wire: Wire, scene: Scene) -> None:
    found: list[Row] = []
    after = ""
    for _ in range(1000):
        page = wire.get(f"{A}/queue?limit=7" + (f"&after={after}" if after else "")).json()
        assert len(page["rows"]) >= 7 or page["next"] is None
        found += page["rows"]
        after = page["next"]
        if after is None:
            break
    assert found == scene.rows


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 8))
def test_no_page_tears_a_message_apart(recipients: list[int], limit: int) -> None:
    ids = [f"{number:08}" for number, count in enumerate(recipients) for _ in range(count)]
    rows: list[Row] = [{"id": one, "recipient": f"{number}@a.example"} for number, one in enumerate(ids)]

    def listed(after: str = "") -> Iterable[Row]:
        return (row for row in rows if row["id"] > after)

    wire, found, after = Wire({"queue.list": listed}), [], ""
    while after is not None:
        page = wire.get(f"{A}/queue?limit={limit}" + (f"&after={after}" if after else "")).json()
        ids = {row["id"] for row in page["rows"]}
        assert not ids & {row["id"] for row in found}
        found += page["rows"]
        after = page["next"]
    assert found == rows


def test_what_is_asked_for_reaches_the_relay(wire: Wire) -> None:
    path = f"{A}/queue?domain=shop.example&state=held&ids=a&ids=b&sender=%3C%3E"
    assert wire.get(path).status == 200
    assert wire.inquirer.asked == [
        ("queue.list", {"domain": "shop.example", "state": "held", "ids": ["a", "b"], "sender": "<>"})
    ]


def test_the_newest_come_first_for_who_wants_that(wire: Wire, scene: Scene) -> None:
    rows = wire.get(f"{A}/queue?newest_first=true&limit=1000").json()["rows"]
    assert [row["id"] for row in rows] == [row["id"] for row in scene.rows[::-1]]


def test_all_of_it_comes_row_by_row_for_who_wants_that(wire: Wire, scene: Scene) -> None:
    answer = wire.get(f"{A}/queue", Accept=NDJSON)
    assert answer.fields["content-type"] == NDJSON
    assert [json.loads(line) for line in answer.body.splitlines()] == scene.rows


def test_a_reader_that_does_not_read_stops_what_is_made_for_it() -> None:
    """A million rows, of which the reader takes some: the rest is not made."""
    made = 0

    def many() -> Iterator[Row]:
        nonlocal made
        for number in range(1_000_000):
            made += 1
            yield {"id": f"{number:08}", "filling": "x" * 100}

    wire = Wire({"queue.list": many})
    octets = request_of("GET", f"{A}/queue", Accept=NDJSON)
    protocol, transport = wire.begin(b"")

    def full() -> bool:
        return len(transport.value()) > 100_000

    write = transport.writeSequence

    def written(pieces: Iterable[bytes]) -> None:
        write(pieces)
        if full():
            protocol.pauseProducing()

    transport.writeSequence = written  # type: ignore[method-assign]
    protocol.dataReceived(octets)
    before = made
    assert full()
    assert len(transport.value()) < 300_000
    assert before < 3000
    protocol.resumeProducing()
    assert before < made < 2 * before
    protocol.connectionLost(Failure(ConnectionError()))
    stopped = made
    wire.clock.advance(100)
    assert made == stopped


def test_a_change_says_how_much_it_changed(wire: Wire) -> None:
    answer = post(wire, "/queue/hold", {"ids": ["a", "b"], "why": "let me see"})
    assert (answer.status, answer.json()) == (200, {"changed": 2})
    assert wire.inquirer.asked == [("queue.hold", {"ids": ["a", "b"], "why": "let me see"})]


@pytest.mark.parametrize("do", ["release", "retry", "remove"])
def test_every_change_is_asked_of_the_relay(wire: Wire, do: str) -> None:
    assert post(wire, f"/queue/{do}", {"all": True}).status == 200
    assert wire.inquirer.asked == [(f"queue.{do}", {"all": True})]


def test_a_flush_needs_no_body(wire: Wire) -> None:
    assert wire.ask("POST", f"{A}/queue/flush").status == 200
    assert post(wire, "/queue/flush", {"destination": "mx:shop.example"}).status == 200
    assert wire.inquirer.changes() == [("queue.flush", {}), ("queue.flush", {"destinations": ["mx:shop.example"]})]


def test_a_destination_is_named_by_its_host_too(wire: Wire, scene: Scene) -> None:
    """Each change says which were meant.  In a list, one that nobody knows is no mistake: it may have gone."""
    lane, host = "smtp:[smtp.provider.example]:587", "smtp.provider.example"
    rows = wire.get(f"{A}/queue?destination={host}&limit=1000").json()["rows"]
    assert rows == [row for row in scene.rows if row["destination"] == lane]
    assert rows
    for do in ("hold", "release", "retry", "remove", "flush"):
        assert post(wire, f"/queue/{do}", {"destination": host}).json() == {"changed": 1, "destinations": [lane]}
        assert wire.inquirer.changes()[-1] == (f"queue.{do}", {"destinations": [lane]})
    assert wire.get(f"{A}/queue?destination=gone.example").json() == {"rows": [], "next": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((f"/queue/{do}", {"destination": "gone.example"}) for do in ("hold", "release", "retry", "remove", "flush")),
        ("/destinations/gone.example/wake", None),
        ("/forecast?down=gone.example", None),
        ("/forecast?down=smtp.provider.example&up=gone.example", None),
    ],
)
def test_a_destination_that_nobody_knows_is_a_mistake(wire: Wire, path: str, body: Row | None) -> None:
    """It was answered as if something had been done."""
    asked = wire.get(A + path) if "?" in path else post(wire, path, body) if body else wire.ask("POST", A + path)
    assert "no mail is for a destination gone.example" in problem(asked, 404)
    assert (wire.inquirer.changes(), "forecast" in dict(wire.inquirer.asked)) == ([], False)


def test_a_rest_may_be_of_what_mail_will_come_for(wire: Wire) -> None:
    told = {"changed": 1, "destinations": ["not-yet.example"]}
    assert wire.ask("POST", f"{A}/destinations/Not-Yet.example/rest").json() == told

    def refuse(destination: str) -> Iterable[Row]:
        raise Refusal(f"mail for {destination} goes by smtp:[10.0.0.5]:25", "request")

    wire.inquirer.answers["destination.awaited"] = refuse
    answer = wire.ask("POST", f"{A}/destinations/dead.example/rest")
    assert problem(answer, 404) == "mail for dead.example goes by smtp:[10.0.0.5]:25"
    assert [fields["destination"] for _, fields in wire.inquirer.changes()] == ["not-yet.example"]


def test_what_a_silent_worker_may_know_is_not_called_a_mistake(wire: Wire) -> None:
    wire.inquirer.answers["destination.named"] = lambda destination: [{"destinations": [], "silent": [1]}]
    assert wire.get(f"{A}/forecast?down=gone.example").status == 200
    assert post(wire, "/queue/hold", {"destination": "gone.example"}).status == 200  # who asks all refuses
    assert wire.inquirer.changes() == [("queue.hold", {"destinations": ["gone.example"]})]


def test_a_destination_is_named_in_the_path_whatever_its_name(wire: Wire) -> None:
    """All that a host leads to are meant; a row of its own, which nothing is for, shadowed them afterwards."""
    lanes = ["lmtp:/run/lmtp.sock", "smtp:[10.0.0.5]:2598", "smtp:[10.0.0.5]:2599"]
    wire.inquirer.answers["destination.named"] = lambda destination: [
        {"destinations": lanes[:1] if destination == lanes[0] else lanes[1:]}
    ]
    for path, named in (("lmtp%3A%2Frun%2Flmtp.sock", lanes[:1]), ("10.0.0.5", lanes[1:])):
        del wire.inquirer.asked[:]
        told = {"changed": len(named), "destinations": named}
        validated(destinations.Minded, told)
        assert post(wire, f"/destinations/{path}/rest", {"seconds": 60}).json() == told
        assert wire.ask("POST", f"{A}/destinations/{path}/wake").json() == told
        assert wire.inquirer.changes() == [
            *(("destination.rest", {"destination": lane, "seconds": 60}) for lane in named),
            *(("destination.wake", {"destination": lane}) for lane in named),
        ]


def test_the_content_of_a_message_is_had_as_it_is() -> None:
    rows: list[Row] = [{"id": "5f3c"}, {"data": "U3ViamVjdDog"}, {"data": "aGkNCg0KAP8="}]
    answer = Wire({"queue.content": lambda id: rows}).get(f"{A}/queue/5f3c/content")
    assert (answer.fields["content-type"], answer.body) == ("message/rfc822", b"Subject: hi\r\n\r\n\x00\xff")
    assert answer.fields["content-disposition"] == 'attachment; filename="5f3c.eml"'


def test_who_follows_the_log_gets_lines_until_he_hangs_up() -> None:
    later: list[Any] = []

    class Following(Wire):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.inquirer.stream = self.lines  # type: ignore[method-assign]

        async def lines(self, do: str, /, **fields: object) -> AsyncIterator[Row]:
            from twisted.internet.defer import Deferred

            assert (do, fields) == ("log.tail", {"lines": 1, "level": "debug", "follow": True})
            yield {"step": "started"}
            try:
                while True:
                    more: Any = Deferred()
                    later.append(more)
                    yield await more
            finally:
                later.append("closed")

    wire = Following()
    protocol, transport = wire.begin(request_of("GET", f"{A}/log?lines=1&follow=true"))
    assert b'{"step":"started"}\n' in transport.value()
    later[-1].callback({"step": "accepted"})
    assert b'{"step":"accepted"}\n' in transport.value()
    protocol.connectionLost(Failure(ConnectionError()))
    assert later[-1] == "closed"


def test_head_is_get_without_its_body(wire: Wire) -> None:
    for path in ("/status", "/queue", "/openapi.json"):
        answer = wire.ask("HEAD", A + path)
        assert (answer.status, answer.body) == (200, b""), path


# -- problems --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/queue?limit=0", "query.limit: input should be greater than or equal to 1"),
        ("/queue?limit=ten", "query.limit: input should be a valid integer"),
        ("/queue?folow=yes", "query.folow: is not known here; what is known: ids, sender"),
        ("/queue?state=asleep", "query.state: input should be 'waiting', 'held' or 'owing'"),
        ("/queue?sender=a&sender=b", "query.sender is given twice"),
        ("/queue?sender=", "query.sender: is empty; say something, or leave it out"),
        ("/queue?sender=%ff", "the query is no list of name=value"),
        ("/queue?sender", "the query is no list of name=value"),
        ("/status?x=1", "query.x: is not known here; leave the query out"),
        ("/log?follow=perhaps", "query.follow: input should be a valid boolean"),
    ],
)
def test_a_wrong_query_is_answered_with_what_would_be_right(wire: Wire, path: str, words: str) -> None:
    assert words in problem(wire.get(A + path), 400)
    assert wire.inquirer.asked == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"seconds": NaN}', "body.seconds: input should be"),
        (b'{"seconds": "60"}', "body.seconds: input should be a valid number"),
        (b"[]", "body: is to be an object"),
        (b"\xff", "the body is not JSON"),
        (b'{"seconds": "long"}', "body.seconds: input should be a valid number"),
        (b'{"seconds": 1e99}', "body.seconds: input should be less than or equal to"),
        (b'{"second": 1}', "body.second: is not known here; what is known: seconds"),
    ],
)
def test_a_wrong_body_is_answered_with_what_would_be_right(wire: Wire, body: bytes, words: str) -> None:
    answer = wire.ask("POST", f"{A}/destinations/a.example/rest", body, **{"Content-Type": "application/json"})
    assert words in problem(answer, 400)
    assert wire.inquirer.asked == []


def test_the_problem_in_the_document_is_the_one_that_is_answered(wire: Wire) -> None:
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    query, shown = re.findall(
        r'^\$ curl -s "\$R(/queue\?\S+)" \| jq .detail\n"(.*?)"$', text, re.MULTILINE | re.DOTALL
    )[0]
    assert problem(wire.get(A + query), 400) == shown.replace("\n", " ")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/explain", {"recipients": []}, "body.recipients: is to have 1 or more, not 0"),
        ("/explain", {"recipients": ["a"] * 20_000}, "body.recipients: is to have "),
        ("/queue/hold", {"sender": "x" * 2000}, "body.sender: is to have 1,000 characters at most"),
    ],
)
def test_a_list_or_a_text_of_a_wrong_length_is_told_in_words(wire: Wire, path: str, body: Row, words: str) -> None:
    """Not in those of the library: it spoke of tuples, and of validation."""
    detail = problem(post(wire, path, body), 400)
    assert words in detail and "tuple" not in detail


def test_an_address_or_a_field_that_is_endless_is_answered(wire: Wire) -> None:
    for octets, status in (
        (b"GET /api/v1/queue?sender=" + b"x" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
    ):
        _, transport = wire.begin(octets)
        problem(heard(transport.value()), status)
        assert transport.disconnecting


def test_several_faults_are_told_at_once(wire: Wire) -> None:
    answer = post(wire, "/queue/hold", {"ids": ["", 7], "who": "me"})
    assert [fault["where"] for fault in answer.json()["errors"]] == ["body.ids[0]", "body.ids[1]", "body.who"]


def test_what_curl_sends_by_itself_is_answered_with_how_to_do_it(wire: Wire) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = wire.ask("POST", f"{A}/queue/hold", b'{"all": true}', **kind)
    assert "with curl add -H 'Content-Type: application/json'" in problem(answer, 415)


def test_what_is_not_there_is_answered_with_what_may_have_been_meant(wire: Wire) -> None:
    assert problem(wire.get(f"{A}/queues"), 404) == "there is no /queues; did you mean /queue?"
    assert "/api/v1/openapi.json" in problem(wire.get("/api/v2/queue"), 404)
    assert "/api/v1/openapi.json" in problem(wire.get("/api"), 404)
    answer = wire.ask("DELETE", f"{A}/queue")
    assert (problem(answer, 405), answer.fields["allow"]) == ("DELETE is nothing that can be done here; GET can", "GET")
    assert wire.ask("GET", f"{A}/queue/hold").fields["allow"] == "POST"


def test_a_message_that_is_not_there_is_not_found() -> None:
    def gone(id: str, **_: object) -> Iterable[Row]:
        raise Refusal(f"there is no message {id}", "request")

    wire = Wire(dict.fromkeys(("queue.show", "queue.content", "trace.show", "explain.message"), gone))
    for path in ("/queue/5f3c", "/queue/5f3c/content", "/journeys/5f3c", "/queue/5f3c/explanation"):
        assert problem(wire.get(A + path), 404) == "there is no message 5f3c", path
        assert problem(wire.get(A + path, Accept=NDJSON), 404), path


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refusal("say which", "request"), 400),
        (Refusal("the disk is full", "unavailable"), 503),
        (Refusal("a fault in the relay", "fault"), 500),
        (CannotAsk("worker 1 does not answer just now"), 503),
        (NotRunning("/spool"), 503),
    ],
)
def test_trouble_has_its_status(error: Exception, status: int) -> None:
    def troubled(**_: object) -> Iterable[Row]:
        raise error
        yield {}

    wire = Wire({"queue.list": troubled, "queue.hold": troubled})
    for accept in ("application/json", NDJSON):
        answer = wire.get(f"{A}/queue", Accept=accept)
        problem(answer, status)
        assert ("retry-after" in answer.fields) == (status == 503)
    problem(post(wire, "/queue/hold", {"all": True}), status)


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    """Else half a queue would be taken for all of it."""

    def breaking() -> Iterable[Row]:
        yield from rows_of_queue(1000)
        raise CannotAsk("the relay ended before its answer was whole")

    _, transport = Wire({"queue.list": breaking}).begin(request_of("GET", f"{A}/queue", Accept=NDJSON))
    assert b"200 OK" in transport.value()
    assert not transport.value().endswith(b"0\r\n\r\n")
    assert transport.disconnecting


def test_a_defect_is_told_without_its_text(scene: Scene) -> None:
    def broken() -> Iterable[Row]:
        return [{"changed": 1 // 0}]

    assert "its log has the details" in problem(Wire({"status": broken}).get(f"{A}/status"), 500)


def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path, scene: Scene) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    wire = Wire(dict(scene.inquirer().answers), file)
    for path in ("/status", "/openapi.json", "/nothing"):
        answer = wire.get(A + path)
        assert "show the token" in problem(answer, 401)
        assert answer.fields["www-authenticate"].startswith("Bearer")
    assert wire.inquirer.asked == []
    problem(wire.get(f"{A}/status", Authorization=f"Bearer {TOKEN}x"), 401)
    assert wire.get(f"{A}/status", Authorization=f"Bearer {TOKEN}").status == 200


def test_a_foreign_page_can_do_nothing_through_somebodys_browser(wire: Wire) -> None:
    body = json.dumps({"all": True}).encode()
    fields = {"Content-Type": "application/json"}
    for theirs in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = wire.ask("POST", f"{A}/queue/remove", body, **fields, **theirs)
        assert (answer.status, answer.fields["content-type"]) == (403, "application/problem+json")
    assert wire.inquirer.asked == []


def test_a_foreign_name_that_leads_here_is_answered_as_programs_are(wire: Wire) -> None:
    for theirs in ({"Host": "evil.example"}, {"X-Forwarded-For": "192.0.2.1"}):
        answer = wire.get(f"{A}/queue", **theirs)
        assert answer.status in (403, 421) and "admin.token_file" in answer.json()["detail"]
    assert wire.inquirer.asked == []


# -- the description -------------------------------------------------------------------------------------------


def test_what_is_described_is_what_is_there_and_all_of_it(wire: Wire) -> None:
    described = wire.get(f"{A}/openapi.json").json()
    found = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert found == {(operation.method, operation.path) for operation in OPERATIONS}
    assert described["openapi"] == "3.1.0"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: str(one.name))
def test_every_operation_is_described_whole(operation: Operation) -> None:
    found: Any = description(TOPICS)
    described = found["paths"][operation.path][operation.method.lower()]
    assert described["summary"].endswith(".")
    in_path = {one["name"] for one in described.get("parameters", ()) if one["in"] == "path"}
    assert in_path == {step[1:-1] for step in operation.steps if step.startswith("{")}
    in_query = {one["name"]: one for one in described.get("parameters", ()) if one["in"] == "query"}
    fields = operation.query.model_fields if operation.query else {}
    assert set(in_query) == {field.alias or name for name, field in fields.items()}
    assert all(one["description"].endswith((".", "`")) for one in described.get("parameters", ()))
    assert ("requestBody" in described) == (operation.body is not None)


def test_names_are_told_once_and_references_lead_somewhere() -> None:
    found: Any = description(TOPICS)
    names = [one["operationId"] for methods in found["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)
    text = json.dumps(found)
    schemas = found["components"]["schemas"]
    assert all(
        name in schemas for name in text.split('"#/components/schemas/')[1:] for name in [name.partition('"')[0]]
    )
    assert "additionalProperties" not in schemas["Status"]  # a later version may tell more
    assert schemas["Hold"]["additionalProperties"] is False


def test_every_path_leads_to_its_own_operation() -> None:
    for operation in OPERATIONS:
        steps = [step.replace("{", "").replace("}", "") for step in operation.steps]
        first = next(one for one in OPERATIONS if one.method == operation.method and one.takes(steps) is not None)
        assert first is operation, operation.path


# -- answers are as they are described -------------------------------------------------------------------------


def validated(model: type[BaseModel], answer: object) -> None:
    """As described, and nothing beside."""
    model.model_validate(answer)
    missing = {name for name, field in model.model_fields.items() if field.is_required()} - set(answer)  # type: ignore[call-overload]
    assert not missing


def test_what_a_real_relay_answers_is_as_it_is_described(tmp_path: Path) -> None:
    with running_relay(tmp_path) as running, Together(tmp_path) as control:
        identity = running.put("ann@client.example", "bob@a.example", "eve@b.example")
        running.put(None, "bob@a.example", state=State.HELD, note="held by the operator")
        for row in control.ask("queue.list"):
            validated(queue.QueuedRow, row)
        validated(queue.QueuedMessage, control.ask_one("queue.show", id=identity))
        validated(overview.Status, control.ask_one("status"))
        validated(overview.History, control.ask_one("history"))
        validated(overview.Configuration, control.ask_one("config"))
        validated(overview.Forecast, control.ask_one("forecast"))
        validated(queue.Changed, control.ask_one("queue.retry", all=True))


def test_the_scene_of_the_pages_is_as_it_is_described(scene: Scene) -> None:
    """So that what the pages are tested with is what the relay says."""
    validated(overview.Status, next(iter(scene.status())))
    for row in scene.rows:
        validated(queue.QueuedRow, row)
    for row in scene.found():
        validated(journeys.Journey, row)


def inner_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        for inner in get_args(annotation):
            yield from inner_models(inner)


def test_every_model_has_a_sentence() -> None:
    wanted = [one for operation in OPERATIONS for one in (operation.query, operation.body, operation.gives) if one]
    seen: set[type[BaseModel]] = set()
    while wanted:
        model = wanted.pop()
        if model not in seen:
            seen.add(model)
            assert (model.__doc__ or "").strip().endswith("."), model
            wanted += [one for field in model.model_fields.values() for one in inner_models(field.annotation)]
    questions: Mapping[type[BaseModel], Operation] = {op.query: op for op in OPERATIONS if op.query}
    assert all(field.description for model in questions for field in model.model_fields.values())
