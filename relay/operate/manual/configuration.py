"""relay.yaml(5), out of the settings: what docs/configuration.md says, in the form of a manual page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from relay import __version__
from relay.operate.faults import section_within
from relay.operate.manual import roff
from relay.operate.reference import INTRODUCTION, default_of, items_of, kind_of
from relay.operate.settings import Settings
from relay.operate.settings.section import Section


def page() -> str:
    """The whole page."""
    introduction = INTRODUCTION.partition("*\n")[2]  # which file writes the other page is nothing to this one
    lines = [
        roff.head("RELAY.YAML", 5, __version__),
        roff.heading("Name"),
        "relay.yaml \\- configuration of relay",
        roff.heading("Description"),
        *roff.markdown(introduction),
        *_chapter("", Settings),
        roff.heading("Files"),
        roff.tagged(roff.bold("/etc/relay/relay.yaml"), "Where it is looked for."),
        roff.heading("See also"),
        f"{roff.bold('relay')}(1),\n{roff.bold('relay-check')}(1),\n{roff.bold('relay-explain')}(1)",
    ]
    return roff.page(lines)


def _chapter(name: str, section: type[Section]) -> Iterator[str]:
    """A heading, what the section is for, its keys, and the sections within it."""
    yield roff.heading("Keys") if not name else roff.subheading(name)
    if name:
        yield roff.prose(" ".join(inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].split()))
    for attribute, field in section.model_fields.items():
        yield _key(name, field.alias or attribute, field)
    for attribute, field in section.model_fields.items():
        inner = section_within(field.annotation)
        if inner is not None:
            below = f"{name}.{field.alias or attribute}".removeprefix(".")
            yield from _chapter(below + items_of(field.annotation), inner)


def _key(section: str, key: str, field: FieldInfo) -> str:
    if section_within(field.annotation) is not None:
        return roff.tagged(f"{roff.bold(key)} (see below)", roff.prose(field.description or ""))
    default = default_of(field)
    kind = roff.prose(kind_of(field))
    told = f"({kind})" if not default else f"({kind}; {roff.prose(default)})" if default == "*required*" else ""
    told = told or f"({kind}; default: {roff.prose(default)})"
    example = f" For example `{field.examples[0]}`." if field.examples else ""
    return roff.tagged(f"{roff.bold(key)} {told}", roff.prose(f"{field.description}{example}"))
