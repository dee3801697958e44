"""Where the page comes up and where it does not: ports, root, workers, reloads, the end."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.peers import free_port, greets, needs_root, running_relay, wait_until

pytestmark = pytest.mark.endtoend

TOKEN = "0123456789abcdef0123456789abcdef"


def get(port: int, path: str = "/", token: str = "") -> tuple[int, str]:
    """The status and the text of an answer; 0 when nobody is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def admin(port: int, more: str = "") -> str:
    return f'admin: {{http: "tcp:{port}:interface=127.0.0.1"{more}}}\n'


def ended(folder: Path, config: str) -> str:
    """What a relay says that does not come up."""
    folder.mkdir()
    listen = f"listen: [{{endpoint: 'tcp:{free_port()}:interface=127.0.0.1'}}]\n"
    (folder / "relay.yaml").write_text(f"hostname: relay.test\nspool: spool\n{listen}{config}", encoding="utf-8")
    command = [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "relay", "--config", "relay.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_page_that_was_asked_for_and_cannot_be_had_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for number, workers in enumerate(("", "workers: 2\n")):
            told = ended(tmp_path / str(number), admin(port) + workers)
            assert re.search(r"relay.yaml:\d+: cannot listen on tcp:\d+.*in use", told), told


def test_the_built_in_page_is_done_without_when_its_port_is_taken(tmp_path: Path) -> None:
    """Two relays tried out on one machine: the second one relays all the same."""
    twistd = Path(sys.executable).parent / "twistd"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8025))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        port = free_port()
        command = [twistd, "-n", "--pidfile=", "relay", "--listen", f"tcp:{port}:interface=127.0.0.1"]
        log = tmp_path / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=stream, stderr=stream)
        try:
            wait_until(lambda: greets(port) or process.poll() is not None, "it works")
            said = log.read_text(encoding="utf-8")
            assert "the relay works without its page" in said and "trouble" in said, said
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_token_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short\n", encoding="ascii")
    for number, workers in enumerate(("", "workers: 2\n")):
        told = ended(tmp_path / str(number), admin(free_port(), f", token_file: {tmp_path}/token") + workers)
        assert "is no token; it needs 16 characters or more: openssl rand -hex 24" in told, told


def test_switched_off_nothing_listens_but_for_mail(tmp_path: Path) -> None:
    with running_relay(tmp_path, "admin: none\n") as relay:
        listening = Path(f"/proc/{relay.pid}/net/tcp").read_text(encoding="ascii")
        ours = {re.sub(r"\D", "", str(link.readlink())) for link in Path(f"/proc/{relay.pid}/fd").iterdir()}
        ports = [line.split() for line in listening.splitlines() if " 0A " in line]
        assert [int(one[1].partition(":")[2], 16) for one in ports if one[9] in ours] == [relay.port]


@pytest.mark.parametrize("workers", [1, 2])
def test_root_is_given_up_and_the_page_is_there(public_path: Path, workers: int) -> None:
    """Its port is below 1024 and its token can be read by root alone."""
    needs_root()
    token = public_path / "token"
    token.write_text(TOKEN, encoding="ascii")
    token.chmod(0o600)
    port = next(port for port in range(600, 1000) if is_free(port))
    config = f"user: nobody\nworkers: {workers}\n" + admin(port, f", token_file: {token}")
    with running_relay(public_path, config) as relay:
        status, text = get(port, token=TOKEN)
        assert status == 200 and "messages queued" in text
        assert get(port)[0] == 303
        for path in ("/queue", "/destinations", "/configuration", "/log", "/nothing", "/assets/relay.css"):
            assert get(port, path, TOKEN)[0] in (200, 404)
        if workers == 1:
            status_file = Path(f"/proc/{relay.pid}/status").read_text(encoding="ascii")
            uid = next(line for line in status_file.splitlines() if line.startswith("Uid:")).split()[1]
            assert int(uid) == pwd.getpwnam("nobody").pw_uid
        relay.process.send_signal(signal.SIGHUP)  # nobody can read the token now: the old one holds, and that is told
        wait_until(lambda: "the old one holds" in relay.said(), "the reload")
        assert get(port, token=TOKEN)[0] == 200
        assert TOKEN not in relay.said()


def is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_the_page_tells_of_a_worker_that_is_gone_and_outlives_its_own(tmp_path: Path) -> None:
    port = free_port()
    with running_relay(tmp_path, "workers: 2\n" + admin(port)) as relay:
        assert "All is well." in get(port)[1]
        workers = workers_of(relay.pid)
        os.kill(workers[1], signal.SIGSTOP)  # it hangs, so that nobody takes its place
        try:
            status, text = get(port)
            assert status == 200 and "messages queued" in text
            assert "Worker 1 does not answer" in text and "without what is silent" in text
        finally:
            os.kill(workers[1], signal.SIGKILL)
        wait_until(lambda: "All is well." in get(port)[1], "another takes its place")
        os.kill(workers_of(relay.pid)[0], signal.SIGKILL)
        # The parent has the port: who asks meanwhile waits, and is not refused.
        wait_until(lambda: get(port)[0] == 200, "the page again")
        assert relay.end() == 0
    assert get(port)[0] == 0


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return sorted(map(int, children.split()))


def test_somebody_who_looks_on_keeps_no_relay_from_ending(tmp_path: Path) -> None:
    port = free_port()
    with running_relay(tmp_path, admin(port)) as relay, socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(15) == b"HTTP/1.1 200 OK"
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"GET / HTTP/1.1\r\nHo")
            assert relay.end() == 0


def test_a_socket_in_the_file_system_serves_a_proxy(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    config = f'admin: {{http: "unix:{path}:mode=600"}}\n'
    with running_relay(tmp_path, config), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert one.recv(15) == b"HTTP/1.1 200 OK"
