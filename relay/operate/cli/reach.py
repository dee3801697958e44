"""Finding the configuration, the spool, and the relay that works on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.cli import asleep
from relay.operate.cli.meant import meant
from relay.operate.cli.speech import EX_CONFIG, EX_DATAERR, EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, Stop
from relay.operate.shards import folder_of, shards_in
from relay.operate.together import Together, of_shards
from relay.operate.whereabouts import NoConfig, keys_of, spool_in
from relay.operate.whereabouts import chosen_config as chosen_config

AnyFunction = Callable[..., Any]
Row = Mapping[str, Any]

config_option = click.option(
    "--config", "-c", type=click.Path(path_type=Path), envvar="RELAY_CONFIG", help="The configuration file."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")


def reaching(command: AnyFunction) -> AnyFunction:
    """Gives a command the options by which it finds the relay, and --json."""
    spool = click.option("--spool", type=click.Path(path_type=Path), help="The relay's spool folder.")
    return config_option(spool(json_option(command)))


def spool_of(config: Path | None, spool: Path | None) -> Path:
    """The spool that the options mean.

    Only this one key is read: a fault elsewhere in the file does not hide the queue.  Raises Stop.
    """
    if spool is not None:
        return spool
    file = config or chosen_config()
    if file is None:
        return Path("spool").absolute()
    try:
        return spool_in(file, keys_of(file))
    except NoConfig as why:
        raise Stop(str(why), EX_CONFIG) from None


@contextmanager
def running(config: Path | None, spool: Path | None) -> Iterator[Together]:
    """A conversation with the relay; what goes wrong in it becomes a Stop."""
    folder = spool_of(config, spool)
    with _understandable(config, spool, folder), Together(folder) as control:
        yield control


@contextmanager
def running_if_any(config: Path | None, spool: Path | None) -> Iterator[Together | None]:
    """A conversation with the relay, or None when none is running; what goes wrong in it becomes a Stop."""
    folder = spool_of(config, spool)
    with _understandable(config, spool, folder):
        try:
            control = Together(folder)
        except NotRunning:
            yield None
            return
        with control:
            yield control


@contextmanager
def listed(config: Path | None, spool: Path | None, fields: Mapping[str, object]) -> Iterator[Iterable[Row]]:
    """The rows of the queue (``queue.list``): the relay's answer, or, when none is running, what lies in the spool.

    fields  of the request; by their ``destination`` a person means what ``relay.operate.cli.meant`` says
    """
    folder = spool_of(config, spool)
    with _understandable(config, spool, folder):
        try:
            control = Together(folder)
        except NotRunning:
            shards = [folder_of(folder, shard) for shard in shards_in(folder)]
            asleep_ones = [one for one in shards if asleep.has_queue(one)]
            if not asleep_ones:
                raise
            click.echo(f"relay: no relay is running; this lies in {folder}", err=True)
            fields, _ = meant(fields, asleep_ones)
            yield of_shards("queue.list", [asleep.rows_of(one, fields) for one in asleep_ones], fields)
            return
        with control:
            silent = [one for one in control.silent if asleep.has_queue(one)]
            fields, _ = meant(fields, silent, control)
            rows = [asleep.rows_of(one, fields) for one in silent]
            yield of_shards("queue.list", [control.ask("queue.list", **fields), *rows], fields)


Ask = Callable[..., Iterator[dict[str, Any]]]


@contextmanager
def journals(config: Path | None, spool: Path | None) -> Iterator[Ask]:
    """Asks the journal (``trace.find``, ``trace.show``): the relay's, or, when none is running, what lies in the
    spool."""
    folder = spool_of(config, spool)
    with _understandable(config, spool, folder):
        try:
            control = Together(folder)
        except NotRunning:
            asleep_ones = [one for one in map(partial(folder_of, folder), shards_in(folder)) if asleep.has_queue(one)]
            if not asleep_ones:
                raise
            click.echo(f"relay: no relay is running; this lies in {folder}", err=True)
            yield lambda do, **fields: _of_journals([], asleep_ones, do, fields)
            return
        with control:
            silent = [one for one in control.silent if asleep.has_queue(one)]
            yield lambda do, **fields: _of_journals([control.ask], silent, do, fields)


def _of_journals(
    awake: Sequence[Ask], asleep_ones: Sequence[Path], do: str, fields: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    answers: list[Iterator[dict[str, Any]]] = [ask(do, **fields) for ask in awake]
    answers += [asleep.journal_of(one, do, fields) for one in asleep_ones]
    return of_shards(do, answers, fields)


@contextmanager
def _understandable(config: Path | None, spool: Path | None, folder: Path) -> Iterator[None]:
    """What goes wrong between us and the relay, in words that say what to do.

    config, spool  as they were given
    folder         the spool that they mean
    """
    try:
        yield
    except NotRunning:
        raise Stop(_how_to_start(config, spool, folder), EX_UNAVAILABLE) from None
    except CannotAsk as error:
        denied = not os.access(folder, os.X_OK)
        advice = "; ask as the user the relay works as, or as root" if denied else ""
        raise Stop(f"{error}{advice}", EX_NOPERM if denied else EX_UNAVAILABLE) from None
    except Refusal as refusal:
        code = {"request": EX_DATAERR, "unavailable": EX_TEMPFAIL}.get(refusal.kind, EX_SOFTWARE)
        raise Stop(str(refusal), code) from None


def _how_to_start(config: Path | None, spool: Path | None, folder: Path) -> str:
    # What was given is given again, the spool too: it wins over the file's there as it did here.
    given = [f"--config {config}"] if config else []
    given += [f"--spool {folder}"] if spool is not None or not config else []
    return (
        f"no relay is running on the spool {folder}{_what_it_is(folder)}\n"
        f"  start it:             relay run {' '.join(given)}    (or: systemctl start relay)\n"
        f"  if it runs elsewhere: name it with --spool or --config"
    )


def _what_it_is(folder: Path) -> str:
    """Why there is no queue to read in it either; empty when that is not known, or there is one."""
    try:
        if next(folder.iterdir(), None) is None:
            return ", which is an empty folder"
    except FileNotFoundError:
        return ", which does not exist"
    except NotADirectoryError:
        return ", which is no folder"
    except OSError:
        return ""
    return "" if asleep.has_queue(folder) else ", in which there is no queue"
