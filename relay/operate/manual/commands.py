"""Pages of section 1: one for ``relay`` and one for each of its commands, out of what ``--help`` says.

The commands of a group stand in the group's page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

from relay import __version__
from relay.operate.manual import roff

ENVIRONMENT = {
    "RELAY_CONFIG": "The configuration file, where `--config` names none.",
    "NO_COLOR": "When it is set, nothing is written in colours.",
}
FILES = {
    "/etc/relay/relay.yaml": "The configuration, where neither `--config` nor `RELAY_CONFIG` names one and there is "
    "no relay in `./spool`. See relay.yaml(5).",
    "control.sock": "In the spool: where a running relay is asked.",
}
EXIT_STATUS = {
    "0": "All went well.",
    "1": "The answer is no.",
    "64": "The command was not understood.",
    "65, 69, 70, 73, 75, 77, 78": "Something went wrong, as in sysexits.h: bad data, no relay runs, a defect, a file "
    "cannot be made, try again later, not allowed, a faulty configuration. A sentence says what to do.",
}


def pages(relay: click.Command) -> Mapping[str, str]:
    """The pages by their files' names: ``relay.1``, ``relay-run.1`` …"""
    whole = click.Context(relay, info_name="relay", **relay.context_settings)
    commands = _within(whole)
    names = [f"relay-{name}" for name in commands]
    found = {"relay.1": _page("relay", whole, names)}
    for name, context in commands.items():
        found[f"relay-{name}.1"] = _page(f"relay-{name}", context, ["relay"])
    return found


def _within(context: click.Context) -> Mapping[str, click.Context]:
    """The commands of a group, by name; none when it is no group."""
    command = context.command
    inner = command.commands if isinstance(command, click.Group) else {}
    return {name: click.Context(one, context, name) for name, one in sorted(inner.items()) if not one.hidden}


def _page(name: str, context: click.Context, see_also: list[str]) -> str:
    command = context.command
    lines = [
        roff.head(name.upper(), 1, __version__),
        roff.heading("Name"),
        roff.filled(f"{roff.literal(name)} \\- {_in_short(command)}"),
    ]
    if type(command).get_help is not click.Command.get_help:
        return roff.page([*lines, *_own(command.get_help(context)), *_ending(see_also)])
    lines += [
        roff.heading("Synopsis"),
        _synopsis(context),
        roff.heading("Description"),
        *_description(command),
    ]
    commands = _within(context)
    if commands:
        lines.append(roff.heading("Commands"))
    for one, inner in commands.items():
        if context.parent is None:  # they have pages of their own
            lines.append(roff.tagged(roff.bold(one), roff.prose(_sentence(inner.command))))
        else:
            lines += _part(inner)
    options = list(_options(context))
    if options:
        lines += [roff.heading("Options"), *options]
    return roff.page([*lines, *_definitions("Exit status", EXIT_STATUS), *_ending(see_also)])


def _ending(see_also: list[str]) -> Iterator[str]:
    yield from _definitions("Environment", ENVIRONMENT)
    yield from _definitions("Files", FILES)
    yield roff.heading("See also")
    also = sorted((*see_also, "relay.yaml"), key=lambda one: (one == "relay.yaml", one))
    yield ",\n".join(f"{roff.bold(one)}({5 if one == 'relay.yaml' else 1})" for one in also)


def _own(text: str) -> Iterator[str]:
    """The help of a command that writes it itself: ``Usage:``, paragraphs, ``Exit codes:``, and flags with their
    meaning, parted by two blanks."""
    usage, *paragraphs = re.split(r"\n\s*\n", text.strip())
    yield roff.heading("Synopsis")
    yield "\n.br\n".join(roff.bold(line.removeprefix("Usage:").strip()) for line in usage.splitlines())
    yield roff.heading("Description")
    for paragraph in paragraphs:
        words = " ".join(paragraph.split())
        flags = re.findall(r"^ *(-.*?) {2,}(\S.*)$", paragraph, re.MULTILINE)
        if flags:
            yield roff.heading("Options")
            yield from (roff.tagged(roff.bold(flag), roff.prose(meaning)) for flag, meaning in flags)
        elif words.startswith("Exit codes:"):
            yield roff.heading("Exit status")
            yield roff.prose(words.removeprefix("Exit codes:").strip())
        else:
            yield f".PP\n{roff.prose(words)}"


def _part(context: click.Context) -> Iterator[str]:
    """A command of a group."""
    yield roff.subheading(context.command_path)
    yield _synopsis(context)
    yield from _description(context.command)
    yield from _options(context)


def _synopsis(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f"{roff.bold(context.command_path)} {roff.italic(pieces)}"


def _paragraphs(command: click.Command) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(command.help or "").partition("\f")[0].strip())


def _sentence(command: click.Command) -> str:
    """What the help begins with."""
    return " ".join(_paragraphs(command)[0].split())


def _in_short(command: click.Command) -> str:
    """The same as the line of NAME has it: without a capital and a full stop."""
    text = _sentence(command).rstrip(".")
    return roff.escaped(text[:1].lower() + text[1:])


def _description(command: click.Command) -> Iterator[str]:
    for text in [*_paragraphs(command), *_paragraphs_of(command.epilog)]:
        lines = text.splitlines()
        if lines[0] == "\b":  # click's sign for lines that are to stay as they are
            yield roff.example(lines[1:])
        else:
            yield f".PP\n{roff.prose(text)}"


def _paragraphs_of(text: str | None) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(text)) if text else []


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield roff.tagged(_names(parameter, context), roff.prose(record[1]))


def _names(option: click.Option, context: click.Context) -> str:
    """``-c, --config PATH``, short names first."""
    names = sorted(option.opts, key=lambda name: name.startswith("--"))
    shown = ", ".join(map(roff.bold, [*names, *option.secondary_opts]))
    return shown if option.is_flag or option.count else f"{shown} {roff.italic(option.make_metavar(context))}"


def _definitions(name: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield roff.heading(name)
    for what, meaning in entries.items():
        yield roff.tagged(roff.bold(what), roff.prose(meaning))
