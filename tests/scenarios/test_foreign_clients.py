"""Clients that are not ours send; a next hop that is not ours receives."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.peers import Destination, Relay, destination, program, running_relay, wait_until

pytestmark = pytest.mark.endtoend

MESSAGE = (
    b"From: ann@client.example\r\nTo: bob@elsewhere.example\r\nSubject: dots\r\n\r\nHello\r\n.\r\n..two\r\n.end\r\n"
)


@pytest.fixture
def hop() -> Iterator[Destination]:
    with destination() as one:
        yield one


@pytest.fixture
def relay(tmp_path: Path, hop: Destination) -> Iterator[Relay]:
    with running_relay(tmp_path, f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{hop.port}\n') as one:
        yield one


def arrived_once(hop: Destination) -> bytes:
    wait_until(lambda: hop.arrived, "the message at the next hop")
    assert len(hop.arrived) == 1
    assert hop.arrived[0].sender == "ann@client.example"
    assert hop.arrived[0].recipients == ["bob@elsewhere.example"]
    return hop.arrived[0].content


def test_smtplib_sends_and_the_next_hop_gets_it_whole(relay: Relay, hop: Destination) -> None:
    """Dots at the beginning of a line survive both hops (RFC 5321 §4.5.2); only our Received is put in front."""
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        assert client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE) == {}
    content = arrived_once(hop)
    assert content.endswith(MESSAGE)
    ours = content.removesuffix(MESSAGE)
    assert ours.startswith(b"Received: from ")
    assert b"by relay.test with ESMTP id " in ours
    assert b"for <bob@elsewhere.example>;" in ours


def test_swaks_sends(relay: Relay, hop: Destination) -> None:
    done = subprocess.run(
        [
            program("swaks"),
            "--server",
            f"127.0.0.1:{relay.port}",
            "--from",
            "ann@client.example",
            "--to",
            "bob@elsewhere.example",
            "--body",
            "swaks was here",
            "--pipeline",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"swaks was here" in arrived_once(hop)


def test_curl_sends(relay: Relay, hop: Destination, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_bytes(MESSAGE)
    done = subprocess.run(
        [
            program("curl"),
            "-sS",
            f"smtp://127.0.0.1:{relay.port}/client.example",
            "--mail-from",
            "ann@client.example",
            "--mail-rcpt",
            "bob@elsewhere.example",
            "--upload-file",
            letter,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert arrived_once(hop).endswith(MESSAGE)


def test_msmtp_sends(relay: Relay, hop: Destination) -> None:
    done = subprocess.run(
        [
            program("msmtp"),
            "--host=127.0.0.1",
            f"--port={relay.port}",
            "--from=ann@client.example",
            "bob@elsewhere.example",
        ],
        input=MESSAGE.replace(b"\r\n", b"\n"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert arrived_once(hop).endswith(MESSAGE)


def test_smtp_source_sends_many_and_each_arrives_once(relay: Relay, hop: Destination) -> None:
    done = subprocess.run(
        [
            program("smtp-source"),
            "-s",
            "5",
            "-m",
            "50",
            "-l",
            "2000",
            "-N",
            "-f",
            "ann@client.example",
            "-t",
            "bob@elsewhere.example",
            f"inet:127.0.0.1:{relay.port}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(hop.arrived) >= 50, "fifty messages")
    everyone = sorted(recipient for arrived in hop.arrived for recipient in arrived.recipients)
    assert len(everyone) == len(set(everyone)) == 50


def test_a_stranger_is_refused_before_the_content(tmp_path: Path, hop: Destination) -> None:
    """The relay is never open: a client outside accept.networks cannot send elsewhere (RFC 2505 §2.1)."""
    config = f'accept:\n  networks: [192.0.2.0/24]\nroutes:\n  - to: "*"\n    via: smtp://127.0.0.1:{hop.port}\n'
    with running_relay(tmp_path, config) as relay, smtplib.SMTP("127.0.0.1", relay.port) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail("ann@client.example", ["bob@elsewhere.example"], MESSAGE)
        code, text = refused.value.recipients["bob@elsewhere.example"]
        assert code == 550
        assert text.startswith(b"5.7.1")
    assert hop.arrived == []
