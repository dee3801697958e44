"""The configuration as an operator would write it, from the values in force: defaults too, and nothing secret.

Secrets are in files of their own, of which only the names are shown; an address of a web server is shown without what
may be a secret in it (relay.operate.kinds).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from relay.operate.kinds import Form
from relay.operate.places import Data
from relay.operate.settings.section import Section


def shown(section: Section) -> dict[str, Data]:
    """Key -> value, as YAML or JSON can say it."""
    return {
        field.alias or attribute: _value(getattr(section, attribute), field.annotation, field.metadata)
        for attribute, field in type(section).model_fields.items()
    }


def _value(value: Any, annotation: Any, metadata: Iterable[object] = ()) -> Data:
    form = next((one for one in metadata if isinstance(one, Form)), None)
    if isinstance(value, Section):
        return shown(value)
    if isinstance(value, tuple):
        return [_value(item, _inner(annotation, 0)) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _value(item, _inner(annotation, 1)) for key, item in value.items()}
    if isinstance(value, bool):
        return value
    if form is not None and form.show is not str:
        text = form.show(value)
        return text if isinstance(text, str) else [*text]
    if value is None or isinstance(value, int | float | str):
        return value
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(value, args[0], args[1:])
    if origin in (Union, UnionType):
        return _value(value, next(one for one in args if one is not type(None)))
    return str(value)


def _inner(annotation: Any, number: int) -> Any:
    """The kind of the items of a list (0), or of the values of a mapping (1)."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = get_args(annotation)[0]
    return get_args(annotation)[number] if get_origin(annotation) is not None else Any
