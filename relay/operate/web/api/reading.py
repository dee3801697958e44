"""From a request to what an operation is given: query and body by their models, faults in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from twisted.web.server import Request

from relay.operate.web.api.operation import JSON, Operation
from relay.operate.web.api.problem import Problem

FIELDS_LIMIT = 12_000
FORM = "application/x-www-form-urlencoded"


def query_of(operation: Operation, request: Request) -> BaseModel | None:
    """What the query asks.  Raises Problem."""
    raw = request.uri.partition(b"?")[2]
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            max_num_fields=FIELDS_LIMIT,
            errors="strict",
        )
    except ValueError:
        why = "the query is no list of name=value; encode what is not plain ASCII as %XX"
        raise Problem(HTTPStatus.BAD_REQUEST, why) from None
    if operation.query is None:
        if pairs:
            why = f"query.{pairs[0][0]}: is not known here; leave the query out, for there is nothing to ask in one"
            raise Problem(HTTPStatus.BAD_REQUEST, why)
        return None
    try:
        return operation.query.model_validate(_gathered(operation.query, pairs))
    except ValidationError as error:
        raise _faulty(error.errors(include_url=False), "query", operation.query) from None


def body_of(operation: Operation, request: Request) -> BaseModel | None:
    """What the body says.  Raises Problem."""
    octets = request.content.read() if request.content is not None else b""
    if operation.body is None:
        if octets.strip():
            raise Problem(HTTPStatus.BAD_REQUEST, "there is nothing to say in a body here")
        return None
    if not octets.strip() and not operation.needs_body:
        return None
    kind = kind_of(request)
    if kind != JSON:
        advice = "; with curl add -H 'Content-Type: application/json'" if kind in ("", FORM) else ""
        why = f"the body is to be {JSON}, not {kind or 'without a Content-Type'}{advice}"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
    return said_in(operation.body, octets)


def kind_of(request: Request) -> str:
    """The media type of the body; empty when it is not told."""
    return (request.getHeader("content-type") or "").partition(";")[0].strip().lower()


def said_in(model: type[BaseModel], octets: bytes) -> BaseModel:
    """What JSON says, by its model: a number is a number there, and no text.  Raises Problem."""
    try:
        return model.model_validate_json(octets, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {found[0]['ctx']['error']}")
    raise _faulty(found, "body", model)


def _gathered(model: type[BaseModel], pairs: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """Texts by name; lists where the model has them."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    found: dict[str, Any] = {}
    for name, value in pairs:
        field = fields.get(name)
        if field is not None and get_origin(field.annotation) is tuple:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Problem(HTTPStatus.BAD_REQUEST, f"query.{name} is given twice; give it once")
        else:
            found[name] = value
    return found


def _faulty(found: Sequence[ErrorDetails], where: str, model: type[BaseModel]) -> Problem:
    faults = [_fault(details, where, model) for details in found]
    detail = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults[:3])
    return Problem(HTTPStatus.BAD_REQUEST, detail, faults)


def _fault(details: ErrorDetails, where: str, model: type[BaseModel]) -> Mapping[str, str]:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in details["loc"])
    return {"where": where + path, "what": _words(details, model)}


def _words(details: ErrorDetails, model: type[BaseModel]) -> str:
    match details["type"]:
        case "extra_forbidden":
            known = [field.alias or name for name, field in model.model_fields.items()]
            return f"is not known here; what is known: {', '.join(known)}"
        case "missing":
            return "is missing"
        case "model_type" | "model_attributes_type":
            return "is to be an object, as in {}"
        case "too_short":
            return f"is to have {details['ctx']['min_length']} or more, not {details['ctx']['actual_length']}"
        case "too_long":
            return f"is to have {details['ctx']['max_length']:,} at most"
        case "string_too_short":
            return "is empty; say something, or leave it out"
        case "string_too_long":
            return f"is to have {details['ctx']['max_length']:,} characters at most"
        case "value_error":
            return str(details.get("ctx", {}).get("error", details["msg"]))
    return details["msg"][:1].lower() + details["msg"][1:]
