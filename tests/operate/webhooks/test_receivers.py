"""Receivers as the configuration has them, and one over real sockets."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from relay.operate.config import ConfigFaults, load
from relay.operate.shown import shown
from relay.operate.surroundings import Surroundings
from relay.operate.webhooks.receivers import receivers, secret_in
from relay.operate.webhooks.signature import UnusableSecret, signed
from relay.route.hosts import HostsFile
from relay.route.https import Https, HttpsFault
from tests.fakes.authority import authority_file, issue
from tests.fakes.names import FakeNames
from tests.fakes.web import Web

SECRET = "0123456789abcdef0123456789abcdef"


def config_of(folder: Path, webhooks: str) -> Any:
    (folder / "secret").write_text(f"{SECRET}\n")
    (folder / "relay.yaml").write_text(f"hostname: gw.example.org\nspool: spool\nwebhooks:\n{webhooks}")
    return load(folder / "relay.yaml")


@pytest.mark.parametrize(
    ("webhooks", "words"),
    [
        ("  - {url: https://a.example/, secret_file: nowhere}", "there is no file"),
        ("  - {url: http://a.example/, secret_file: secret}", "write it like https://app.example.org/hooks/mail"),
        ("  - {url: https://a.example/}", "missing; add the line secret_file: /etc/relay/webhook.secret"),
        ("  - {url: https://a.example/, secret_file: secret, events: [deliverd]}", 'did you mean "delivered"?'),
        ("  - {url: https://a.example/, secret_file: secret, events: []}", "the list is empty"),
        (
            "  - {url: https://a.example/, secret_file: secret}\n  - {url: https://a.example/, secret_file: secret}",
            "this one is told already; give it all its events there",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(tmp_path: Path, webhooks: str, words: str) -> None:
    with pytest.raises(ConfigFaults) as raised:
        config_of(tmp_path, webhooks)
    assert words in str(raised.value)


def test_what_may_be_a_secret_in_an_address_is_never_shown(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "  - {url: https://a.example/hooks/T0K3N, secret_file: secret}\n"
        "  - {url: 'https://a.example/?key=T0K3N', secret_file: secret, events: [failed]}\n"
        "  - {url: http://127.0.0.1:9000/, secret_file: secret}\n",
    )
    around = cast(Surroundings, type("Around", (), {"https": object()})())
    found = receivers(config, around)
    assert [one.name for one in found.values()] == [
        "https://a.example/… #1",
        "https://a.example/… #2",
        "http://127.0.0.1:9000/",
    ]
    assert "T0K3N" not in str(shown(config))
    assert [one.place for one in found.values()] == [f"{tmp_path}/relay.yaml:{line}" for line in (4, 5, 6)]


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nremark\n")
    assert secret_in(file) == SECRET.encode()
    file.write_text("short\n")
    with pytest.raises(UnusableSecret, match="needs 16 octets or more"):
        secret_in(file)
    with pytest.raises(UnusableSecret, match="cannot be read"):
        secret_in(tmp_path / "nowhere")


class OverSockets(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.names = FakeNames(reactor)
        self.names.a("app.example", "127.0.0.1")

    def around(self, https: object = None) -> Surroundings:
        hosts = HostsFile(reactor, self.folder / "hosts")
        found = {"reactor": reactor, "names": self.names, "hosts": hosts, "https": https}
        return cast(Surroundings, type("Around", (), found)())

    async def test_a_receiver_with_an_authority_of_its_own(self) -> None:
        web = Web(lambda asked: (204, "", b""))
        port = web.listen(issue("app.example"))
        self.addCleanup(port.stopListening)
        url = f"https://app.example:{port.getHost().port}/hooks"
        authorities = authority_file(self.folder)
        config = config_of(self.folder, f"  - {{url: '{url}', secret_file: secret, authorities: {authorities}}}")
        (receiver,) = receivers(config, self.around()).values()
        fields = signed(receiver.secret(), "5f3c.1.0", 1.0, b"{}")
        assert await receiver.post(b"{}", fields) == 204
        (asked,) = web.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/hooks", b"{}")
        assert asked.fields["content-type"] == "application/json"
        assert {name: asked.fields[name] for name in fields} == fields

    async def test_a_certificate_of_nobody_is_no_receiver(self) -> None:
        web = Web(lambda asked: (204, "", b""))
        port = web.listen(issue("app.example", by="Unknown"))
        self.addCleanup(port.stopListening)
        url = f"https://app.example:{port.getHost().port}/hooks"
        config = config_of(self.folder, f"  - {{url: '{url}', secret_file: secret}}")
        https = Https(reactor, self.names, None, unreachable=())
        (receiver,) = receivers(config, self.around(https)).values()
        with self.assertRaises(HttpsFault):
            await receiver.post(b"{}", {})
        assert web.asked == []
