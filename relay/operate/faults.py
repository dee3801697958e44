"""What is wrong with a configuration, in words: pydantic's findings as faults with place and advice."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from relay.operate.places import Fault, Path, Place, Reading, dotted
from relay.operate.settings import Settings
from relay.operate.settings.section import Section
from relay.operate.values import shown

_BOUNDS = {"greater_than_equal": "at least", "less_than_equal": "at most"}


def fault_of(details: ErrorDetails, reading: Reading, nowhere: Place) -> Fault:
    """One of pydantic's findings as a fault.

    nowhere  the place to name when the file has none, as for what the command line gave
    """
    path = _as_written(details["loc"], reading)
    unknown = details["type"] == "extra_forbidden"
    places = reading.keys if unknown or (path and path[-1] == "[key]") else reading.values
    path = tuple(step for step in path if step != "[key]")
    place = reading.nearest(path, places) or reading.nearest(path, reading.values) or nowhere
    return Fault(place, dotted(path), _unknown_key(path) if unknown else _sentence(details))


def _as_written(loc: Sequence[int | str], reading: Reading) -> Path:
    """pydantic's location without what is not in the file, such as the ``to`` of a forward's short form."""
    path: Path = ()
    for step in loc:
        last = step is loc[-1] and isinstance(step, str)
        if step == "[key]" or (*path, step) in reading.values or (last and _names_a_key(path, str(step))):
            path = (*path, step)
    return path


def _names_a_key(path: Path, step: str) -> bool:
    section = section_at(path)
    return section is not None and step in keys_of(section)


def _unknown_key(path: Path) -> str:
    section = section_at(path[:-1])
    known = keys_of(section) if section else ()
    name = str(path[-1]).lower().replace("-", "_")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f'unknown key; did you mean "{close[0]}"?'
    elsewhere = [dotted(inner) for inner in every_key(Settings) if inner[-1] == name]
    if elsewhere:
        return f"unknown key here; it is {' or '.join(elsewhere)}"
    return f"unknown key; the keys here are {', '.join(known)}"


def _sentence(details: ErrorDetails) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    match kind:
        case "value_error":
            return str(context["error"])
        case "missing":
            return f"missing; add the line {_line(tuple(details['loc']))}"
        case "literal_error":
            return _not_one_of(value, str(context["expected"]))
        case "int_type" | "float_type" | "float_parsing" | "int_from_float":
            return f"{shown(value)} is not a number; write one like 10, without quotes or unit"
        case "greater_than_equal" | "less_than_equal":
            return f"{shown(value)} is out of range; it must be {_BOUNDS[kind]} {next(iter(context.values()))}"
        case "bool_type":
            return f"{shown(value)} is neither true nor false; write one of these"
        case "string_type":
            return f"{shown(value)} is not text; put it in quotes"
        case "tuple_type" | "list_type":
            return f"{shown(value)} is not a list; write [one, two], or one a line with a - in front"
        case "too_short":
            return "the list is empty; name one at least, or remove this line"
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return f"{shown(value)} is not a mapping; write keys and values: {_example(details)}"
        case _:
            return f"{shown(value)}: {details['msg']}"


def _not_one_of(value: object, expected: str) -> str:
    choices = re.findall(r"'([^']*)'|(\d+)", expected)
    names = [name or number for name, number in choices]
    close = difflib.get_close_matches(str(value), names, n=1)
    advice = f'did you mean "{close[0]}"?' if close else f"write {' or '.join(names)}"
    return f"{shown(value)} is not one of {', '.join(names)}; {advice}"


def _example(details: ErrorDetails) -> str:
    section = section_at(tuple(details["loc"]))
    return "{" + _line((*details["loc"], keys_of(section)[0])) + "}" if section else "{name: value}"


def _line(path: Path) -> str:
    """A key with a value that would be right."""
    section = section_at(path[:-1])
    field = field_of(section, path[-1]) if section else None
    if field is None:
        return f"{path[-1]}: …"
    return f"{path[-1]}: {field.examples[0] if field.examples else field.default}"


# -- the tree of keys ---------------------------------------------------------------------------


def keys_of(section: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a section, as they stand in a file."""
    return tuple(field.alias or name for name, field in section.model_fields.items())


def field_of(section: type[BaseModel], key: int | str) -> FieldInfo | None:
    """What is known of a key of this section."""
    return next((field for name, field in section.model_fields.items() if (field.alias or name) == key), None)


def section_within(annotation: Any) -> type[Section] | None:
    """The section that a field's type holds: itself, in a list, or as the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is Annotated:
        return section_within(get_args(annotation)[0])
    for inner in get_args(annotation):
        found = section_within(inner)
        if found is not None:
            return found
    return None


def section_at(path: Path) -> type[Section] | None:
    """The section that a path of a file leads to, or None when it leads to a value."""
    section: type[Section] | None = Settings
    within_mapping = False
    for step in path:
        if within_mapping:  # this step was the name an operator chose
            within_mapping = False
            continue
        if isinstance(step, int):
            continue
        if section is None:
            return None
        field = field_of(section, step)
        if field is None:
            return None
        within_mapping = _is_mapping(field.annotation)
        section = section_within(field.annotation)
    return section


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def every_key(section: type[Section], before: Path = ()) -> Iterable[Path]:
    """Every key there is, as a path with ``0`` for any item of a list; mappings' own names are left out."""
    for name, field in section.model_fields.items():
        path = (*before, field.alias or name)
        yield path
        inner = section_within(field.annotation)
        if inner is not None:
            yield from every_key(inner, path)
