"""Large messages in little memory, and a disk with no room: nothing is lost, and it passes by itself."""

from __future__ import annotations

import smtplib
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.disks import in_memory
from tests.scenarios.peers import destination, running_relay, wait_until

pytestmark = [pytest.mark.endtoend, pytest.mark.slow]

MIB = 1024 * 1024


def via(port: int) -> str:
    return f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n'


def letter(octets: int, name: str = "large") -> bytes:
    line = b"0123456789abcdef" * 4 + b"\r\n"
    return b"Subject: " + name.encode() + b"\r\n\r\n" + line * (octets // len(line))


def test_fifty_mebibytes_do_not_raise_the_memory(tmp_path: Path) -> None:
    """Coming in and going out, a large message is never whole in memory."""
    with (
        destination(data_size_limit=60 * MIB) as hop,
        running_relay(tmp_path, "accept: {message_size: 60 MiB}\n" + via(hop.port)) as relay,
        smtplib.SMTP("127.0.0.1", relay.port) as client,
    ):
        # A first large message brings in what is loaded once: code, buffers, threads.
        client.sendmail("ann@client.example", ["bob@elsewhere.example"], letter(1 * MIB))
        wait_until(lambda: len(hop.arrived) == 1, "the first message")
        before = relay.peak_octets()
        whole = letter(50 * MIB)
        client.sendmail("ann@client.example", ["bob@elsewhere.example"], whole)
        wait_until(lambda: len(hop.arrived) == 2, "the large message", limit_s=60)
        assert hop.arrived[1].content.endswith(whole)
        assert relay.peak_octets() - before < 2.5 * MIB


@pytest.mark.parametrize("line", [b"x" * 70, b"x.y" * 24, b"." * 70, b".", b""])
def test_large_content_arrives_octet_for_octet(tmp_path: Path, line: bytes) -> None:
    """With dots and without: what needs no other look on its way out, and what does."""
    contents = [
        b"Subject: it\r\n\r\n" + (line + b"\r\n") * (octets // (len(line) + 2)) for octets in (100_000, 2 * MIB)
    ]
    with (
        destination() as hop,
        running_relay(tmp_path, via(hop.port)) as relay,
        smtplib.SMTP("127.0.0.1", relay.port) as client,
    ):
        for content in contents:
            client.sendmail("ann@client.example", ["bob@elsewhere.example"], content)
        wait_until(lambda: len(hop.arrived) == len(contents), "both", limit_s=60)
        arrived = sorted((message.content for message in hop.arrived), key=len)
        assert [got.partition(b"Subject: ")[2] for got in arrived] == [
            sent.partition(b"Subject: ")[2] for sent in contents
        ]


def test_a_full_disk_is_452_and_passes_by_itself(tmp_path: Path) -> None:
    """Our own trouble is never 5yz: the sender keeps the mail and comes back (RFC 5321 §4.2.3)."""
    with ExitStack() as stack:
        disk = stack.enter_context(in_memory(tmp_path / "disk", "size=64m"))
        hop = stack.enter_context(destination(data_size_limit=60 * MIB))
        relay = stack.enter_context(running_relay(tmp_path / "r", via(hop.port), spool=disk / "spool"))
        filler = disk / "filler"
        with filler.open("wb") as stream:
            try:
                while True:
                    stream.write(bytes(64 * 1024))
                    stream.flush()
            except OSError:
                pass
        answers: list[int] = []
        kept: list[str] = []
        with smtplib.SMTP("127.0.0.1", relay.port) as client:
            for number in range(40):
                name = f"full{number}"
                try:
                    client.sendmail("ann@client.example", [f"{name}@elsewhere.example"], letter(MIB, name))
                    kept.append(name)
                except smtplib.SMTPDataError as refused:
                    answers.append(refused.smtp_code)
                except smtplib.SMTPSenderRefused as refused:
                    answers.append(refused.smtp_code)
        assert answers
        assert set(answers) <= {452, 451}
        filler.unlink()

        def accepted() -> bool:
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                try:
                    client.sendmail("ann@client.example", ["after@elsewhere.example"], letter(MIB, "after"))
                except smtplib.SMTPException:
                    return False
            return True

        wait_until(accepted, "mail is taken again when there is room")
        wait_until(
            lambda: {*kept, "after"} <= {a.recipients[0].split("@")[0] for a in hop.arrived},
            "all that was accepted",
        )
