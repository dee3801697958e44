"""The command lines that programs call sendmail with."""

from __future__ import annotations

import pytest

from relay.message.envelope import Notify, Ret
from relay.operate.sendmail.flags import Mode, UsageFault, Wishes, parse

CALLS: dict[str, tuple[str, Wishes]] = {
    "cron": (
        "-FCronDaemon -i -B8BITMIME -oem root",
        Wishes(recipients=("root",), full_name="CronDaemon", ignore_dots=True),
    ),
    "anacron": ("-FAnacron root", Wishes(recipients=("root",), full_name="Anacron")),
    "at": ("-i ann", Wishes(recipients=("ann",), ignore_dots=True)),
    "PHP": ("-t -i", Wishes(from_header=True, ignore_dots=True)),
    "PHP with a sender": (
        "-t -i -fshop@example.org",
        Wishes(from_header=True, ignore_dots=True, sender="shop@example.org"),
    ),
    "git send-email": (
        "-f ann@example.org -i bob@example.net carl@example.net",
        Wishes(recipients=("bob@example.net", "carl@example.net"), sender="ann@example.org", ignore_dots=True),
    ),
    "mutt": (
        "-oem -oi -f ann@example.org -N failure,delay -R hdrs -- bob@example.net",
        Wishes(
            recipients=("bob@example.net",),
            sender="ann@example.org",
            ignore_dots=True,
            notify=Notify.FAILURE | Notify.DELAY,
            ret=Ret.HDRS,
        ),
    ),
    "s-nail": (
        "-i -r ann@example.org -- bob@example.net",
        Wishes(recipients=("bob@example.net",), sender="ann@example.org", ignore_dots=True),
    ),
    "bsd-mailx": ("-i bob@example.net", Wishes(recipients=("bob@example.net",), ignore_dots=True)),
    "Ruby's mail": (
        "-i -f ann@example.org -- bob@example.net",
        Wishes(recipients=("bob@example.net",), sender="ann@example.org", ignore_dots=True),
    ),
    "MIME::Lite": ("-t -oi -oem", Wishes(from_header=True, ignore_dots=True)),
    "sudo": ("-t", Wishes(from_header=True)),
    "two in one": ("-ti", Wishes(from_header=True, ignore_dots=True)),
    "Majordomo": (
        "-oi -odq -oeq -f owner@example.org -- list@example.org",
        Wishes(recipients=("list@example.org",), ignore_dots=True, sender="owner@example.org"),
    ),
    "an option of sendmail's": (
        "-O DeliveryMode=b -OIgnoreDots -om -m -n -v -G -U -L tag -h 3 -X /dev/null -p smtp ann",
        Wishes(recipients=("ann",), ignore_dots=True, verbose=True),
    ),
    "-bm": ("-bm ann", Wishes(recipients=("ann",))),
    "-b m": ("-b m ann", Wishes(recipients=("ann",))),
    "-bs": ("-bs", Wishes(mode=Mode.SMTP)),
    "-bp": ("-bp", Wishes(mode=Mode.LIST)),
    "-bi": ("-bi", Wishes(mode=Mode.ALIASES)),
    "-I": ("-I", Wishes(mode=Mode.ALIASES)),
    "-q": ("-q", Wishes(mode=Mode.FLUSH)),
    "-qf": ("-qf", Wishes(mode=Mode.FLUSH)),
    "-qI": ("-qIabc", Wishes(mode=Mode.FLUSH, flush=("ids", "abc"))),
    "-qR": ("-qRexample.org", Wishes(mode=Mode.FLUSH, flush=("domain", "example.org"))),
    "-qS": ("-qSann@example.org", Wishes(mode=Mode.FLUSH, flush=("sender", "ann@example.org"))),
    "a configuration": ("-C /a/relay.yaml ann", Wishes(recipients=("ann",), config="/a/relay.yaml")),
    "ours": ("--config /a/relay.yaml --spool=/b ann", Wishes(recipients=("ann",), config="/a/relay.yaml", spool="/b")),
    "-V": ("-V id42 -N never ann", Wishes(recipients=("ann",), envid="id42", notify=Notify.NEVER)),
    "after the dashes": ("-- -t", Wishes(recipients=("-t",))),
    "flags behind recipients": ("ann -t", Wishes(recipients=("ann",), from_header=True)),
}


@pytest.mark.parametrize(("line", "wishes"), CALLS.values(), ids=CALLS.keys())
def test_programs_get_what_they_ask_for(line: str, wishes: Wishes) -> None:
    assert parse(line.split()) == wishes


@pytest.mark.parametrize("given", [["-f", ""], ["-f", "<>"], ["-f<>"], ["-r", "<>"]])
def test_the_null_sender_can_be_named(given: list[str]) -> None:
    assert parse(given).sender == ""


def test_the_name_it_is_called_by_counts() -> None:
    assert parse([], Mode.LIST).mode is Mode.LIST


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-bd", "relay run starts the relay"),
        ("-bD", "relay run starts the relay"),
        ("-bv ann", "relay explain"),
        ("-bt", "relay explain"),
        ("-bz", "-bz is not done here"),
        ("-q30m", "-q tries all now"),
        ("-qR", "-q tries all now"),
        ("-bd -q15m", "relay run"),
        ("-Z", "-Z is not known"),
        ("-tZ", "-Z is not known"),
        ("--all", "--all is not known"),
        ("-f", "-f needs a value"),
        ("-N", "-N needs a value"),
        ("--config", "--config needs a value"),
        ("-N sometimes", "never, or success"),
        ("-N never,delay", "never, or success"),
        ("-R most", "full or hdrs"),
        ("-B9BIT", "7BIT or 8BITMIME"),
        (f"-V {'x' * 101}", "1 to 100 printable"),
        ("-V ä", "1 to 100 printable"),
    ],
)
def test_what_is_not_done_here_is_said(line: str, why: str) -> None:
    with pytest.raises(UsageFault, match=why):
        parse(line.split())
