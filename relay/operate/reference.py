"""docs/configuration.md, written from the settings themselves, so that it cannot say anything else.

python -m relay.operate.reference > docs/configuration.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from relay.operate.faults import section_within
from relay.operate.kinds import Form
from relay.operate.settings import Settings
from relay.operate.settings.section import Section

INTRODUCTION = """\
# Configuration

*This page is written by `python -m relay.operate.reference` from relay/operate/settings/; change it there.*

relay reads one YAML file, named by `--config`. Every key has a default, and so has the file as a whole: without
one, relay listens on 127.0.0.1:2525, keeps its queue in `./spool`, relays for this machine only, delivers by MX, and
shows a [page](page.md) at http://127.0.0.1:8025/.
`etc/relay.yaml` is an annotated example.

```sh
relay check relay.yaml        # every fault at once: file, line, column, what is wrong, what would be right
relay run --config relay.yaml # or: twistd -n relay --config relay.yaml
kill -HUP …                   # take a changed file, without dropping a session
```

**Faults.** A file is used whole or not at all. An unknown key is a fault, and so is a key given twice. A reload of a
faulty file changes nothing: the log says what is wrong, and the relay goes on as before. What is allowed and
probably not meant, such as an open relay, is a warning.

**Values** are read as YAML 1.2 has them: `no`, `on` and `22:30` are text. A *duration* is a number and a unit: `90s`,
`5m`, `1h30m`, `5d`, `7 days`. A *size* is a number of octets, or one with a unit: `64 KiB`, `50 MiB`, `10 MB`. A
relative *path* starts at the folder of the file. A value that begins with `*`, `[`, `@` or a quote, or that holds `: `,
is put in quotes.

**On the command line** these win over the file: `--listen ENDPOINT` (may be given several times; replaces `listen`),
`--spool DIR`, `--admin ENDPOINT` (or `--admin none`), and `--smarthost HOST:PORT`, which takes the place of the route
to everywhere (or becomes one, after the narrower routes of the file).

**Reload.** SIGHUP takes everything but `hostname`, `spool`, `user`, `group`, `workers`, `listen`, `dns`, `log.file`,
`sendmail.maildrop`, `delivery.mta_sts`, `tls_reports` and `admin`, which need a restart; the log says so when one of
them changed. Sessions and deliveries under way go on.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_chapter("", Settings)])


def _chapter(name: str, section: type[Section]) -> Iterator[str]:
    """A heading, what the section is for, its keys, and the sections within it."""
    if name:
        yield f"## {name}\n"
        yield f"{inspect.cleandoc(section.__doc__ or '').partition(chr(10) * 2)[0]}\n"
    else:
        yield "## The file\n"
    yield "| key | value | default | |"
    yield "| --- | --- | --- | --- |"
    for attribute, field in section.model_fields.items():
        yield _line(field.alias or attribute, field)
    yield ""
    for attribute, field in section.model_fields.items():
        inner = section_within(field.annotation)
        if inner is not None:
            below = f"{name}.{field.alias or attribute}".removeprefix(".")
            yield from _chapter(below + items_of(field.annotation), inner)


def _line(key: str, field: FieldInfo) -> str:
    inner = section_within(field.annotation)
    value = "see below" if inner is not None else kind_of(field)
    example = f" For example `{field.examples[0]}`." if field.examples and inner is None else ""
    cells = (f"`{key}`", value, default_of(field), f"{field.description}{example}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def kind_of(field: FieldInfo) -> str:
    """What a key's value must be, in words."""
    form = next((one for one in field.metadata if isinstance(one, Form)), None)
    return form.name if form is not None else _kind_of_type(field.annotation)


def _kind_of_type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        form = next((one for one in inner if isinstance(one, Form)), None)
        return form.name if form is not None else _kind_of_type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, UnionType):
        return _kind_of_type(next(one for one in inner if one is not type(None)))
    if origin is tuple:
        return f"list: {_kind_of_type(inner[0])}"
    if origin is not None and len(inner) == 2:
        return f"mapping: {_kind_of_type(inner[0])} to {_kind_of_type(inner[1])}"
    return {str: "text", bool: "true or false"}.get(annotation, str(annotation))


def default_of(field: FieldInfo) -> str:
    """What holds when a key is not there: as an operator would write it, or that it must be there; else empty."""
    form = next((one for one in field.metadata if isinstance(one, Form)), None)
    if field.default is PydanticUndefined:
        return "" if field.default_factory is not None else "*required*"
    if field.default == () or (field.default is None and form is None):
        return ""
    if form is not None:
        return f"`{form.show(field.default)}`"
    if isinstance(field.default, tuple):
        shown = [one.endpoint if hasattr(one, "endpoint") else str(one) for one in field.default]
        return f"`[{', '.join(shown)}]`"
    return f"`{field.default}`"


def items_of(annotation: Any) -> str:
    """``[]`` after the name of a list of sections, ``.NAME`` after that of a mapping."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return items_of(get_args(annotation)[0])
    return {tuple: "[]", Mapping: ".NAME"}.get(origin, "")


if __name__ == "__main__":
    sys.stdout.write(reference())
