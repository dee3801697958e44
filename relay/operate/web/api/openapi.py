"""The description of the API (OpenAPI 3.1), made of the definitions that route its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from relay import __version__
from relay.operate.web.api.models import Problem, Told
from relay.operate.web.api.operation import JSON, NDJSON, Operation, Topic
from relay.operate.web.api.problem import PROBLEM_JSON

REFERENCE = "#/components/schemas/{model}"

ABOUT = """\
All that the page and the command line can do, for programs. Times are seconds since the epoch, sizes are octets; names
are those of the log.

Where `admin.token_file` is set, every request shows its token: `Authorization: Bearer TOKEN`. Where it is not, the API
answers on this machine only. Whatever goes wrong is `application/problem+json` (RFC 9457), whose `detail` says what
would be right; 503 passes, and `Retry-After` says when to come back.
"""

ALWAYS: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "Asked wrongly; the detail says what would be right.",
    HTTPStatus.UNAUTHORIZED: "The token is missing, or is another one.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Trouble of the relay's own, which passes.",
}


def description(topics: Sequence[Topic]) -> dict[str, object]:
    """The whole document."""
    operations = [(topic, operation) for topic in topics for operation in topic.operations]
    models: list[type[BaseModel]] = list(
        dict.fromkeys(model for _, operation in operations for model in _models_of(operation))
    )
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in models]
    wanted.append((Problem, "validation"))
    _, schemas = models_json_schema(wanted, ref_template=REFERENCE)
    answers = {model.__name__ for model in _every_model(Told)}
    paths: dict[str, dict[str, object]] = {}
    for topic, operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(topic, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relay",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {}],
        "tags": [{"name": topic.name, "description": topic.about} for topic in topics],
        "paths": paths,
        "components": {
            "schemas": {name: _open(schema, name in answers) for name, schema in schemas["$defs"].items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token of `admin.token_file`."}
            },
        },
    }


def _every_model(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _every_model(one)


def _open(schema: dict[str, Any], is_answer: bool) -> dict[str, Any]:
    """A later version may tell more: who reads answers is not to refuse what he does not know."""
    return {name: value for name, value in schema.items() if not (is_answer and name == "additionalProperties")}


def _models_of(operation: Operation) -> Iterator[type[BaseModel]]:
    for model in (operation.body, operation.gives, operation.has_rows):
        if model is not None:
            yield model


def _operation(topic: Topic, operation: Operation) -> dict[str, object]:
    found: dict[str, object] = {
        "operationId": operation.name,
        "tags": [topic.name],
        "summary": operation.about,
        "responses": _responses(operation),
    }
    if operation.more:
        found["description"] = operation.more
    parameters = [*_places(operation), *_query(operation)]
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        content: dict[str, object] = {JSON: {"schema": _reference(operation.body)}}
        if operation.also_takes:
            content[operation.also_takes] = {"schema": {"type": "string"}}
        found["requestBody"] = {"required": operation.needs_body, "content": content}
    return found


def _places(operation: Operation) -> Iterator[dict[str, object]]:
    for name, about in operation.places.items():
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _query(operation: Operation) -> Iterator[dict[str, object]]:
    if operation.query is None:
        return
    schema = operation.query.model_json_schema(ref_template=REFERENCE)
    for name, of_field in schema["properties"].items():
        kept = {key: value for key, value in of_field.items() if key not in ("description", "title")}
        yield {"name": name, "in": "query", "description": of_field["description"], "schema": kept}


def _responses(operation: Operation) -> dict[str, object]:
    content: dict[str, object] = {}
    if operation.gives is not None:
        content[JSON] = {"schema": _reference(operation.gives)}
    if operation.has_rows is not None:
        content[NDJSON] = {"schema": _reference(operation.has_rows)}
    if operation.kind != JSON:
        content[operation.kind] = {"schema": {"type": "string"}}
    good = {"description": operation.about, "content": content}
    problems = {**ALWAYS, **operation.problems}
    if operation.body is not None:
        problems[HTTPStatus.UNSUPPORTED_MEDIA_TYPE] = "The body is of another kind."
    said = {str(int(status)): _problem(when) for status, when in sorted(problems.items())}
    return {str(int(operation.status)): good, **said, "default": _problem("Whatever else went wrong.")}


def _problem(when: str) -> dict[str, object]:
    return {"description": when, "content": {PROBLEM_JSON: {"schema": _reference(Problem)}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
