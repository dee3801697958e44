"""Attacks on the real program over TCP: by clients, and by the hosts that mail goes to."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.peers import Relay, destination, raise_descriptors, running_relay, wait_until
from tests.scenarios.wire import Caller, RawHop, raw_hop
from tests.smtp.test_data import ENDS_OF_OTHERS

pytestmark = pytest.mark.endtoend

MIB = 1024 * 1024


def via(port: int) -> str:
    return f'routes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\nretry: {{first: 1s, longest: 1s}}\n'


ENVELOPE = (b"MAIL FROM:<ann@client.example>", b"RCPT TO:<bob@elsewhere.example>")


# -- what ends a content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", ["refuse", "normalise"])
def test_one_message_in_is_never_two_out(tmp_path: Path, bare: str) -> None:
    """CVE-2023-51764 and its kin, in and out: thirteen ends of data of other people's, through the whole relay.

    Whatever became of it, what leaves has only whole line ends and one end of data; and the session knows where it is.
    """
    with raw_hop() as hop, running_relay(tmp_path, f"accept: {{bare_line_ends: {bare}}}\n" + via(hop.port)) as relay:
        accepted = 0
        for number, end in enumerate(ENDS_OF_OTHERS):
            with Caller(relay.port) as client:
                client.greet()
                assert client.ask(*ENVELOPE, b"DATA") == [250, 250, 354]
                client.say(b"Subject: %d\r\n\r\nbefore" % number + end)
                client.say(b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<victim@elsewhere.example>\r\nDATA\r\n")
                client.say(b"smuggled\r\n.\r\n")
                (code,) = client.codes(1)
                assert code in ((550, 250) if bare == "refuse" else (250,))
                accepted += code == 250
                # No command of the content was taken for one, and no transaction is left of it.
                assert client.ask(b"RCPT TO:<bob@elsewhere.example>", b"DATA", b"NOOP") == [503, 503, 250]
        wait_until(lambda: len(hop.contents) == accepted, "what was accepted, and no more")
        for content in hop.contents:
            assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
            assert content.count(b"\r\n.\r\n") == 1 and content.endswith(b"\r\n.\r\n")
            assert b"MAIL FROM:<evil@" in content
        assert not [line for line in hop.commands if b"evil" in line or b"victim" in line]
        assert (accepted == len(ENDS_OF_OTHERS)) is (bare == "normalise")


def test_after_a_refused_chunk_nothing_of_it_is_left(tmp_path: Path) -> None:
    """A transaction that lost a chunk cannot be continued, nor its octets be read as commands (RFC 3030 §2)."""
    with raw_hop() as hop, running_relay(tmp_path, "accept: {message_size: 100}\n" + via(hop.port)) as relay:
        with Caller(relay.port) as client:
            client.greet()
            assert client.ask(*ENVELOPE) == [250, 250]
            evil = b"RSET\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<victim@elsewhere.example>\r\n".ljust(200)
            client.say(b"BDAT 10\r\n0123456789" + b"BDAT 200\r\n" + evil + b"BDAT 4 LAST\r\nabcd")
            assert client.codes(3) == [250, 552, 552]
            assert client.ask(b"RCPT TO:<bob@elsewhere.example>", b"BDAT 0 LAST") == [503, 503]
            assert client.ask(*ENVELOPE, b"BDAT 4 LAST\r\nx\r") == [250, 250, 550]  # and the LF of its own line
            assert client.ask(b"", b"NOOP")[-1:] == [250]
        assert hop.contents == []


# -- injection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<ann@client.example> ENVID=a+0D+0ARCPT",
        b"MAIL FROM:<ann@client.example> ENVID=a+00",
        b"MAIL FROM:<ann@client.example> AUTH=a+0Ab@x",
        b"MAIL FROM:<ann\0@client.example>",
        b'MAIL FROM:<"ann\n"@client.example>',
        b'MAIL FROM:<"ann\r"@client.example>',
        b"MAIL FROM:<ann@client.example\x0b>",
        "MAIL FROM:<ann\u2028b@client.example> SMTPUTF8".encode(),
        "MAIL FROM:<ann\u202eb@client.example> SMTPUTF8".encode(),
        b"MAIL FROM:<`id`@$(id)>",
        b"EHLO a\x1b[2J",
    ],
)
def test_nothing_that_could_end_a_line_is_taken(hostile: tuple[Relay, RawHop], line: bytes) -> None:
    """21Nails (CVE-2020-28021, -28026): what is refused here reaches no queue file, header or next hop."""
    relay, _ = hostile
    with Caller(relay.port) as client:
        client.greet()
        assert client.ask(line)[0] // 100 == 5


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, RawHop]]:
    """A relay whose next hop answers with escape codes and a forged line."""
    evil = b"450-4.2.1 \x1b]0;owned\x07\x1b[2J\x9b2J\r\n450 4.2.1 \x08\x08 delivered id=forged\x00\xe2\x80\xae"
    with raw_hop(replies={b"RCPT": evil}) as hop:
        folder = tmp_path_factory.mktemp("hostile")
        with running_relay(folder, via(hop.port).replace("1s", "1h")) as relay:
            yield relay, hop


def test_what_strangers_say_stays_on_its_line(hostile: tuple[Relay, RawHop]) -> None:
    """Log forging and escape codes: from HELO, header fields and a host's replies to the log, list, show and JSON."""
    relay, hop = hostile
    with Caller(relay.port) as client:
        assert client.codes(1) == [220]
        assert client.ask(b"EHLO x(\\'$;<&>", *ENVELOPE, b"DATA") == [250, 250, 250, 354]
        client.say(b"Message-ID: <\x1b[31m\x07 id=forged\x85>\r\nSubject: \x1b[2J\xff\r\n\r\nx\r\n.\r\n")
        assert client.codes(1) == [250]
    wait_until(lambda: b"RCPT" in b" ".join(hop.commands) and "deferred" in relay.said(), "the attempt")
    rows = [json.loads(row) for row in relay.command("queue", "list", "--json").stdout.splitlines()]
    shown = [
        relay.said(),
        relay.command("queue", "list").stdout,
        relay.command("queue", "list", "--json").stdout,
        relay.command("queue", "show", rows[0]["id"]).stdout,
        relay.command("status").stdout,
        on_a_terminal(relay, "queue", "show", rows[0]["id"], plain=True),
    ]
    for text in shown:
        assert not set(text) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E])), text
    assert not [line for line in relay.said().splitlines() if line.startswith(("delivered", "id=forged"))]
    # The list colours its own words; the host's must not bring colours and titles along.
    listed = on_a_terminal(relay, "queue", "list")
    assert "\x1b]" not in listed and "\x1b[2J" not in listed and "\x07" not in listed and "\u202e" not in listed


def on_a_terminal(relay: Relay, *arguments: str, plain: bool = False) -> str:
    """What ``relay …`` writes to a terminal."""
    ours, theirs = pty.openpty()
    script = Path(sys.executable).parent / "relay"
    environment = {**os.environ, "TERM": "xterm", **({"NO_COLOR": "1"} if plain else {})}
    process = subprocess.Popen(
        [script, *arguments, "--config", relay.config], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    process.wait(30)
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


# -- the open relay --------------------------------------------------------------------------------------------

CLOSED = [
    b"<ann@elsewhere.example>",
    b"<ann%elsewhere.example@ours.example>",
    b"<elsewhere.example!ann@ours.example>",
    b"<ours.example!ann@elsewhere.example>",
    b'<"ann@elsewhere.example"@ours.example>',
    b'<"ann%elsewhere.example"@ours.example>',
    b'<"ann@elsewhere.example">',
    b"<@ours.example:ann@elsewhere.example>",
    b"<@ours.example,@relay.test:ann@elsewhere.example>",
    b"<@ours.example:ann%elsewhere.example@ours.example>",
    b"<ann@[127.0.0.1]>",
    b"<ann@[IPv6:::1]>",
    b"<ann%elsewhere.example@[127.0.0.1]>",
    b"<ann@elsewhere.example@ours.example>",
    b"<ann@elsewhere.example,bob@ours.example>",
    b"<ann@ours.example.elsewhere.example>",
    b"<ann@elsewhere.example.>",
    b"<postmaster@elsewhere.example>",
    b"<ann>",
    b"ann@elsewhere.example",
    b"<ann%elsewhere.example>",
]


SENDERS = [b"<>", b"<ann@ours.example>", b"<ann@relay.test>", b"<ann@[127.0.0.1]>", b"<x@elsewhere.example>", b"<a@b>"]


def test_no_sender_and_no_form_of_recipient_opens_the_relay(tmp_path: Path) -> None:
    """RFC 2505 §2.1: the whole matrix from a stranger's address over TCP; what is ours is taken beside it."""
    config = "accept: {networks: [192.0.2.0/24], domains: [ours.example]}\n"
    with destination() as hop, running_relay(tmp_path, config + via(hop.port)) as relay:
        for sender in SENDERS:
            with Caller(relay.port) as client:
                client.greet()
                for path in CLOSED:
                    assert client.ask(b"MAIL FROM:" + sender) == [250]
                    (code,) = client.ask(b"RCPT TO:" + path)
                    assert code // 100 == 5, (sender, path)
                    assert client.ask(b"DATA", b"RSET") == [554, 250]
                    if path in CLOSED[::5]:  # so that it is not sent away for its errors
                        client.ask(b"MAIL FROM:" + sender, b"RCPT TO:<bob@ours.example>", b"DATA")
                        assert client.ask(b".") == [250]
        wait_until(lambda: len(hop.arrived) == len(CLOSED[::5]) * len(SENDERS), "our own mail")
        assert {recipient for one in hop.arrived for recipient in one.recipients} == {"bob@ours.example"}


# -- hostile hosts ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "octets"),
    [
        (b"EHLO", b"250-flood of a reply that never ends\r\n"),
        (b"EHLO", b"x" * 1000),
        (b"MAIL", b"250-flood\r\n"),
        (b"RCPT", b"250 2.1.5 unasked\r\n"),
        (b"DATA", b"354-go\r\n"),
    ],
)
def test_a_host_that_talks_without_end_is_cut_off(tmp_path: Path, verb: bytes, octets: bytes) -> None:
    """Postfix 20260529 and others: bounded in memory and in what is read; the mail waits, and others get theirs."""
    with raw_hop(flood={verb: octets}) as hop, raw_hop() as good:
        config = (
            f"routes:\n  - {{to: good.example, via: 'smtp://127.0.0.1:{good.port}'}}\n"
            f"  - {{to: '*', via: 'smtp://127.0.0.1:{hop.port}'}}\nretry: {{first: 1s, longest: 1s}}\n"
        )
        with running_relay(tmp_path, config) as relay, Caller(relay.port) as client:
            client.greet()
            before = relay.memory_octets()
            assert client.ask(*ENVELOPE, b"DATA", b".") == [250, 250, 354, 250]
            wait_until(lambda: hop.flooded > 0 and "deferred" in relay.said(), "the flood, and its end")
            mail = (b"MAIL FROM:<ann@client.example>", b"RCPT TO:<bob@good.example>", b"DATA", b".")
            assert client.ask(*mail) == [250, 250, 354, 250]
            wait_until(lambda: good.contents, "mail for others")
            # Kernel buffers take some megabytes of each attempt; we take a few pieces.
            assert hop.flooded < 16 * MIB * hop.sessions
            assert relay.memory_octets() - before < 16 * MIB
            assert hop.sessions <= 10, "it is not called again and again without a pause"


def test_a_host_that_says_yes_and_drops_gets_it_again_and_the_doubt_is_told(tmp_path: Path) -> None:
    """RFC 1047: content gone, connection gone.  Delivered twice perhaps, never not at all."""
    dropped = []

    def serve(connection: socket.socket) -> None:
        if len(dropped) >= 2:
            good.serve(connection)
            return
        script = RawHop()
        with connection:
            lines = connection.makefile("rb")
            connection.sendall(b"220 hop\r\n")
            while line := lines.readline():
                if line[:4] == b"DATA":
                    connection.sendall(b"354 go\r\n")
                    while lines.readline() != b".\r\n":
                        pass
                    dropped.append(script)
                    return
                connection.sendall(b"250 ok\r\n")

    good = RawHop()
    with raw_hop(serve) as hop, running_relay(tmp_path, via(hop.port)) as relay, Caller(relay.port) as client:
        client.greet()
        assert client.ask(*ENVELOPE, b"DATA", b".") == [250, 250, 354, 250]
        wait_until(lambda: good.contents, "it arrives in the end")
        assert "in_doubt" in relay.said()


# -- resources -------------------------------------------------------------------------------------------------

BIG = int(os.environ.get("RELAY_ATTACK_MIB", "128")) * MIB
"""Octets of the endless line; 2048 by hand."""
MANY = int(os.environ.get("RELAY_ATTACK_MANY", "100000"))
"""Recipients asked for, and a fifth of it connections; 1000000 by hand."""


def sent_until_closed(client: Caller, octets: bytes, times: int) -> int:
    """How many octets went out, up to so many times these, before the relay had enough."""
    sent = 0
    try:
        for _ in range(times):
            client.say(octets)
            sent += len(octets)
    except (ConnectionError, TimeoutError):
        pass
    return sent


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[tuple[Relay, int]]:
    """A relay after its first message, and its peak of memory so far."""
    with running_relay(tmp_path, 'routes: [{to: "*", via: "discard:"}]\n') as relay, Caller(relay.port) as client:
        client.greet()
        assert client.ask(*ENVELOPE, b"DATA", b".") == [250, 250, 354, 250]
        yield relay, relay.peak_octets()


def test_a_command_line_without_end_is_cut_off(victim: tuple[Relay, int]) -> None:
    relay, before = victim
    with Caller(relay.port) as client:
        client.greet()
        assert sent_until_closed(client, b"x" * MIB, BIG // MIB) < 32 * MIB
    grown = relay.peak_octets() - before
    print(f"an endless command: {grown / MIB:.1f} MiB")
    assert grown < 4 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "piece", "code"),
    [
        (b"Subject: x\r\n\r\n", b"x" * MIB, 552),
        (b"Subject: ", b"x" * MIB, 552),
        (b"", b"X-Bomb: y\r\n" * (MIB // 11), 552),
        (b"", b"a:" + b" b\r\n" * (MIB // 4), 552),
        (b"Subject: x\r\n\r\n", b"\n" * MIB, 550),
        (b"Subject: x\r\n\r\n", b"\r\n..x" * (MIB // 5), 552),
    ],
    ids=["one line", "one field", "header bomb", "folded field", "bare line ends", "dots"],
)
def test_a_content_that_is_too_big_costs_no_memory(
    victim: tuple[Relay, int], start: bytes, piece: bytes, code: int
) -> None:
    """A line of gigabytes, and a header bomb: refused when it is known, read only to find its end."""
    relay, before = victim
    with Caller(relay.port) as client:
        client.greet()
        assert client.ask(*ENVELOPE, b"DATA") == [250, 250, 354]
        client.say(start)
        sent = sent_until_closed(client, piece, BIG // len(piece))
        if sent < len(piece) * (BIG // len(piece)):  # enough was read to find its end, and the session closed
            assert sent > 1000 * MIB
            assert client.codes(2) in ([code], [])
        else:
            client.say(b"\r\n.\r\n")
            assert client.codes(1) == [code]
    grown = relay.peak_octets() - before
    print(f"{sent / MIB:.0f} MiB of content in vain: {grown / MIB:.1f} MiB")
    assert grown < 16 * MIB


@pytest.mark.slow
def test_a_million_recipients_cost_no_memory(victim: tuple[Relay, int]) -> None:
    """452 for each beyond the limit (RFC 5321 §4.5.3.1.10), however many come, and the client must read its replies."""
    relay, before = victim
    with Caller(relay.port, timeout_s=60) as client:
        client.greet()
        assert client.ask(ENVELOPE[0]) == [250]
        replies = 0
        octets = b"".join(b"RCPT TO:<r%d@elsewhere.example>\r\n" % number for number in range(1000))
        for _ in range(MANY // 1000):
            client.say(octets)
            codes = client.codes(1000)
            replies += len(codes)
            assert set(codes) <= {250, 452}
        assert replies == MANY // 1000 * 1000
    grown = relay.peak_octets() - before
    print(f"{replies} RCPT: {grown / MIB:.1f} MiB")
    assert grown < 8 * MIB


def test_a_client_that_reads_no_replies_is_not_read_from(victim: tuple[Relay, int]) -> None:
    """What it says stays in the network; other clients are served."""
    relay, before = victim
    with Caller(relay.port, timeout_s=2) as client, Caller(relay.port) as other:
        client.greet()
        other.greet()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = sent_until_closed(client, b"RCPT TO:<nobody@elsewhere.example>\r\n" * 30_000, 100)
        assert sent < 60 * MIB
        assert other.ask(b"NOOP") == [250]
    assert relay.peak_octets() - before < 8 * MIB


@pytest.mark.slow
def test_many_connections_asked_for_are_told_421_and_cost_nothing_afterwards(victim: tuple[Relay, int]) -> None:
    """Held: as many as the limit.  Asked for: ever more.  Those who are in go on, and afterwards all is as before."""
    relay, before = victim
    raise_descriptors(6000)
    turned_away = 0
    with Caller(relay.port) as early:
        early.greet()
        held = [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(1990)]
        for asked in range(MANY // 5):
            # From many addresses of loopback, for the ports of one are soon used up.
            source = f"127.1.{asked // 200 % 250}.{asked % 200 + 1}"
            with socket.create_connection(("127.0.0.1", relay.port), 20, (source, 0)) as one:
                if asked % 100 == 50:
                    turned_away += one.recv(3) == b"421"
        assert turned_away > MANY // 5 // 100 * 0.9
        assert early.ask(b"NOOP") == [250]
        grown = relay.peak_octets() - before
        print(f"{MANY // 5} connections asked for, 2000 held: {grown / MIB:.1f} MiB")
        assert grown < 96 * MIB
        for one in held:
            one.close()
        wait_until(lambda: len(list(Path(f"/proc/{relay.pid}/fd").iterdir())) < 60, "all have gone")
        assert early.ask(*ENVELOPE, b"DATA", b".") == [250, 250, 354, 250]


def test_every_test_that_the_attack_list_names_is_there() -> None:
    """docs/attacks.md has a row for each class of attack."""
    root = Path(__file__).parents[2]
    page = (root / "docs/attacks.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 25))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 80
    for path, name in named:
        source = (root / path).read_text(encoding="utf-8")
        found = re.search(rf"^ *((async )?def {name}\(|class {name}\b|{name} = )", source, re.MULTILINE)
        assert found, f"{path}::{name}"
