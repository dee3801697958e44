"""relay oauth login: the device authorization grant (RFC 8628), with a provider that the test plays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from relay.operate.cli import exit_code
from relay.operate.cli.speech import EX_CONFIG, EX_UNAVAILABLE, Stop
from relay.operate.config import load
from relay.operate.device_login import NoAnswer, device_login

CODE = {
    "device_code": "device-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://example.com/device",
    "expires_in": 30,
    "interval": 5,
}
PENDING = (400, {"error": "authorization_pending"})
GRANTED = (200, {"access_token": "a", "refresh_token": "refresh-1"})

Answer = tuple[int, Mapping[str, object]]


class Provider:
    def __init__(self, *answers: Answer | NoAnswer, code: Answer = (200, CODE)) -> None:
        self._answers = [code, *answers]
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.slept: list[float] = []
        self.said: list[str] = []

    def ask(self, url: str, form: Mapping[str, str]) -> Answer:
        self.asked.append((url, dict(form)))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def login(self, folder: Path, extra: str = "device_endpoint: 'https://login.example/device', ") -> str:
        path = folder / "relay.yaml"
        path.write_text(
            "routes: [{to: '*', via: smtp://smtp.example:587, user: ann@example.com, oauth: {"
            f"token_endpoint: 'https://login.example/token', {extra}"
            "client_id: us, refresh_token_file: token, scope: smtp}}]"
        )
        return device_login(load(path).routes[0], self.ask, self.slept.append, self.said.append)


def test_a_person_enters_the_code_and_the_token_comes(tmp_path: Path) -> None:
    provider = Provider(PENDING, PENDING, GRANTED)
    assert provider.login(tmp_path) == "refresh-1"
    assert "https://example.com/device" in provider.said[0] and "WDJB-MJHT" in provider.said[0]
    assert provider.asked[0] == ("https://login.example/device", {"client_id": "us", "scope": "smtp"})
    url, form = provider.asked[-1]
    assert (url, form["device_code"]) == ("https://login.example/token", "device-1")
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"
    assert provider.slept == [5, 5, 5]


def test_who_asks_too_often_waits_longer(tmp_path: Path) -> None:
    """RFC 8628 §3.5."""
    provider = Provider((400, {"error": "slow_down"}), GRANTED)
    provider.login(tmp_path)
    assert provider.slept == [5, 10]


def test_a_connection_that_is_lost_ends_no_login(tmp_path: Path) -> None:
    """RFC 8628 §3.5: ask again, half as often each time."""
    lost = NoAnswer("https://login.example/token: timed out", EX_UNAVAILABLE)
    provider = Provider(PENDING, lost, lost, GRANTED, code=(200, CODE | {"expires_in": 900}))
    assert provider.login(tmp_path) == "refresh-1"
    assert provider.slept == [5, 5, 10, 20]
    with pytest.raises(NoAnswer, match="timed out"):
        Provider(lost).login(tmp_path)


def test_the_providers_own_ways(tmp_path: Path) -> None:
    """As Google's and Microsoft's documents have them: other statuses, another name of the URI, more members."""
    google = {"device_code": "d", "user_code": "GQVQ-JKEC", "verification_url": "https://www.google.com/device"}
    slow = (403, {"error": "slow_down", "error_description": "Forbidden"})
    provider = Provider((428, PENDING[1]), slow, GRANTED, code=(200, google | {"expires_in": 1800, "interval": 5}))
    assert provider.login(tmp_path) == "refresh-1"
    assert "https://www.google.com/device" in provider.said[0] and provider.slept == [5, 5, 10]
    microsoft = CODE | {"verification_uri": "https://microsoft.com/devicelogin", "message": "To sign in, use a web ..."}
    declined = (400, {"error": "authorization_declined", "error_codes": [70000], "trace_id": "x"})
    with pytest.raises(Stop, match="authorization_declined"):
        Provider(PENDING, declined, code=(200, microsoft)).login(tmp_path)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(400, {"error": "access_denied"})], "access_denied"),
        ([(400, {"error": "expired_token"})], "expired_token"),
        ([(400, {"error": "bad_verification_code"})], "bad_verification_code"),
        ([PENDING], "has expired"),
        ([(200, {"access_token": "a"})], "offline_access"),
        ([(500, {})], "500"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, answers: list[Answer], words: str) -> None:
    with pytest.raises(Stop, match=words):
        Provider(*answers).login(tmp_path)


def test_a_provider_without_codes(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="invalid_client"):
        Provider(code=(401, {"error": "invalid_client"})).login(tmp_path)
    with pytest.raises(Stop, match="no device_endpoint"):
        Provider().login(tmp_path, "")


def test_which_route_is_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "relay.yaml").write_text("routes: [{to: '*', via: 'mx:'}]")
    assert exit_code(["oauth", "login", "--config", str(tmp_path / "relay.yaml")]) == EX_CONFIG
    assert "say which one with --user" in capsys.readouterr().err
