"""Next hops that are not ours: Postfix's sink, a real Postfix, and hosts found by MX."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest
from flufl.bounce import all_failures

from tests.scenarios.peers import (
    destination,
    free_port,
    greets,
    needs_root,
    program,
    running_relay,
    wait_until,
)

pytestmark = pytest.mark.endtoend

MESSAGE = b"From: ann@client.example\r\nTo: bob@elsewhere.example\r\nSubject: a letter\r\n\r\nHello\r\n"


def via(port: int) -> str:
    return f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n'


def send(port: int, sender: str, recipients: list[str], content: bytes = MESSAGE) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        assert client.sendmail(sender, recipients, content) == {}


@contextmanager
def smtp_sink(*options: str) -> Iterator[int]:
    port = free_port()
    as_nobody = ("-u", "nobody") if os.geteuid() == 0 else ()
    process = subprocess.Popen([program("smtp-sink"), *as_nobody, *options, f"127.0.0.1:{port}", "100"])
    try:
        wait_until(lambda: greets(port), "smtp-sink")
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    "options", [(), ("-8",), ("-e",), ("-p",), ("-p", "-8", "-e")], ids=lambda o: "".join(o) or "plain"
)
def test_smtp_sink_takes_it_whatever_it_offers(tmp_path: Path, public_path: Path, options: tuple[str, ...]) -> None:
    """Without 8BITMIME, without ESMTP, without PIPELINING: each is a real hop somewhere."""
    with smtp_sink("-D", f"{public_path}/%s.", *options) as port, running_relay(tmp_path, via(port)) as relay:
        send(relay.port, "ann@client.example", ["bob@elsewhere.example"])

        def dumps() -> list[Path]:
            return [file for file in public_path.iterdir() if file.is_file() and b"Hello" in file.read_bytes()]

        wait_until(dumps, "the dump of smtp-sink")
        assert b"Subject: a letter" in dumps()[0].read_bytes()
        wait_until(lambda: '"messages": 0' in relay.command("status", "--json").stdout, "an empty queue")


def test_a_refusal_comes_back_as_a_report_that_others_understand(tmp_path: Path) -> None:
    """RFC 3464: flufl.bounce, which mailing lists use, finds the address that failed."""
    with destination() as hop, running_relay(tmp_path, via(hop.port)) as relay:
        hop.refuse["nobody@elsewhere.example"] = "550 5.1.1 No such person"
        hop.refuse["noone@elsewhere.example"] = "550 5.1.1 No such person"
        send(
            relay.port,
            "ann@client.example",
            ["bob@elsewhere.example", "nobody@elsewhere.example", "noone@elsewhere.example"],
        )
        wait_until(lambda: len(hop.arrived) == 2, "the message and one report")
        report = next(arrived for arrived in hop.arrived if arrived.recipients == ["ann@client.example"])
        assert report.sender == "<>"
        temporary, permanent = all_failures(message_from_bytes(report.content))
        assert permanent == {b"nobody@elsewhere.example", b"noone@elsewhere.example"}
        assert not temporary
        assert b"No such person" in report.content


def test_a_report_is_never_answered_by_a_report(tmp_path: Path) -> None:
    """RFC 5321 §4.5.5: no notification for the null sender."""
    with destination() as hop, running_relay(tmp_path, via(hop.port)) as relay:
        hop.refuse["ann@client.example"] = "550 5.1.1 Gone"
        hop.refuse["nobody@elsewhere.example"] = "550 5.1.1 Gone"
        send(relay.port, "ann@client.example", ["nobody@elsewhere.example"])
        wait_until(
            lambda: (
                '"messages": 0' in relay.command("status", "--json").stdout
                or "held" in relay.command("queue", "list").stdout
            ),
            "an end",
        )
        assert all(arrived.sender != "<>" or arrived.recipients != ["ann@client.example"] for arrived in hop.arrived)


def test_a_dead_hop_keeps_the_mail_and_a_retry_brings_it(tmp_path: Path) -> None:
    port = free_port()
    with running_relay(tmp_path, via(port)) as relay:
        send(relay.port, "ann@client.example", ["bob@elsewhere.example"])
        wait_until(lambda: "refused" in relay.command("queue", "list", "--json").stdout.lower(), "the first failure")
        with destination(port) as hop:
            relay.command("queue", "retry", "--all", "--yes")
            wait_until(lambda: hop.arrived, "the message after retry")


def test_a_real_postfix_takes_it(public_path: Path) -> None:
    """A whole Postfix as the next hop, delivering into a maildir."""
    needs_root()
    postfix = program("postfix")
    config, queue, mail, port = public_path / "etc", public_path / "queue", public_path / "mail", free_port()
    for folder in (config, queue, mail):
        folder.mkdir()
    mail.chmod(0o777)
    (config / "main.cf").write_text(
        f"queue_directory = {queue}\ndata_directory = {public_path}/data\n"
        "compatibility_level = 3.6\nmaillog_file = /dev/stdout\n"
        "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = postfix.test\nmydestination =\n"
        f"mynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = elsewhere.example\nvirtual_mailbox_base = {mail}\n"
        "virtual_mailbox_maps = static:box/\nvirtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n"
        "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n"
        "maillog_file_prefixes = /dev, /var\n",
        encoding="ascii",
    )
    (public_path / "data").mkdir()
    subprocess.run(["chown", "postfix", public_path / "data"], check=True)
    services = Path("/etc/postfix/master.cf").read_text(encoding="ascii")
    kept = [line for line in services.splitlines() if not line.startswith("smtp ")]
    (config / "master.cf").write_text(
        f"127.0.0.1:{port} inet n - n - - smtpd\n" + "\n".join(kept) + "\n", encoding="ascii"
    )
    with (public_path / "postfix.log").open("wb") as log:
        server = subprocess.Popen([postfix, "-c", config, "start-fg"], stdout=log, stderr=log)
    try:
        wait_until(lambda: greets(port), "Postfix answers")
        with running_relay(public_path / "r", via(port)) as relay:
            send(relay.port, "ann@client.example", ["bob@elsewhere.example"])
            wait_until(lambda: list(mail.rglob("new/*")), "a file in the maildir")
            text = next(iter(mail.rglob("new/*"))).read_text(encoding="ascii")
            assert "Subject: a letter" in text
            assert "by relay.test with ESMTP id" in text
            assert "by postfix.test (Postfix) with ESMTP" in text
    finally:
        subprocess.run([postfix, "-c", config, "stop"], check=False, capture_output=True)
        server.wait(20)
