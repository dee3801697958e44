"""Access tokens: fetched, kept, fetched again, refused; and no secret in what is told."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.deliver.keyring import NoCredentials
from relay.deliver.oauth import TokenSource, write_secret
from relay.route.credentials import Login, OAuth
from relay.route.https import Fetched, HttpsFault

URL = "https://login.example/token"


class Provider:
    """A token endpoint."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.forms: list[dict[str, str]] = []
        self.told: list[str] = []
        self.extra: dict[str, object] = {}
        self.answer: Callable[[], Fetched | HttpsFault] = self.yes
        self.is_held = False
        self._waiting: list[defer.Deferred[Fetched]] = []
        self.file = folder / "refresh"
        self.file.write_text("refresh-1\n")
        secret = folder / "client"
        secret.write_text("client-secret\n")
        oauth = OAuth(URL, "us", str(secret), "smtp")
        self.login = Login("ann@provider.example", str(self.file), oauth=oauth)
        self.source = TokenSource(self.clock, self.request, lambda step, /, **fields: self.told.append(str(fields)))

    def yes(self) -> Fetched:
        said = {"access_token": f"access-{len(self.forms)}", "expires_in": 3600, "token_type": "Bearer"} | self.extra
        return Fetched(200, "application/json", json.dumps(said).encode())

    def request(self, method: str, url: str, *, body: bytes | None = None, **more: object) -> defer.Deferred[Fetched]:
        assert (method, url, more["ours"]) == ("POST", URL, True)
        self.forms.append({name: values[0] for name, values in parse_qs((body or b"").decode()).items()})
        asked: defer.Deferred[Fetched] = defer.Deferred()
        self._waiting.append(asked)
        if not self.is_held:
            self.let_go()
        return asked

    def let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            answer = self.answer()
            if isinstance(answer, HttpsFault):
                asked.errback(answer)
            else:
                asked.callback(answer)

    def token(self) -> str:
        results: list[str | Failure] = []
        self.source.token(self.login).addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, str)
        return result


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return Provider(tmp_path)


def test_a_refresh_token_is_exchanged(provider: Provider) -> None:
    """RFC 6749 §6."""
    assert provider.token() == "access-1"
    assert provider.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-1",
            "client_id": "us",
            "client_secret": "client-secret",
            "scope": "smtp",
        }
    ]


def test_a_token_of_a_kind_that_we_do_not_know_is_not_used(provider: Provider) -> None:
    """RFC 6749 §7.1; the name of the kind is in any case (§5.1)."""
    provider.extra = {"token_type": "mac"}
    with pytest.raises(NoCredentials, match="a token of the kind mac"):
        provider.token()
    provider.extra = {"token_type": "bEARER"}
    assert provider.token() == "access-2"


def test_a_token_is_used_until_shortly_before_it_expires(provider: Provider) -> None:
    assert [provider.token(), provider.token()] == ["access-1"] * 2
    provider.clock.advance(3500)
    assert provider.token() == "access-1"
    provider.clock.advance(60)
    assert provider.token() == "access-2"


def test_a_token_whose_life_nobody_tells_lives_shortly(provider: Provider) -> None:
    provider.extra = {"expires_in": None}
    assert provider.token() == "access-1"
    provider.clock.advance(301)
    assert provider.token() == "access-2"


def test_many_who_want_it_at_once_ask_once(provider: Provider) -> None:
    provider.is_held = True
    results: list[str] = []
    for _ in range(5):
        provider.source.token(provider.login).addCallback(results.append)
    provider.let_go()
    assert results == ["access-1"] * 5 and len(provider.forms) == 1


def test_a_refused_token_is_not_used_again(provider: Provider) -> None:
    provider.token()
    provider.source.forget(provider.login)
    assert provider.token() == "access-2"


def test_a_new_refresh_token_takes_the_place_of_the_old(provider: Provider) -> None:
    """Microsoft's do: the old one ends some day."""
    provider.extra = {"refresh_token": "refresh-2"}
    provider.token()
    assert provider.file.read_text() == "refresh-2\n"
    assert stat.S_IMODE(provider.file.stat().st_mode) == 0o600
    provider.source.forget(provider.login)
    provider.token()
    assert provider.forms[1]["refresh_token"] == "refresh-2"


def test_a_new_refresh_token_is_used_though_it_cannot_be_kept(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, secret: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relay.deliver.oauth.write_secret", full)
    provider.extra = {"refresh_token": "refresh-2"}
    provider.token()
    assert "No space left" in provider.told[0] and "refresh-2" not in provider.told[0]
    provider.source.forget(provider.login)
    provider.token()
    assert provider.forms[1]["refresh_token"] == "refresh-2"
    provider.file.write_text("refresh-9\n")  # an operator has logged in anew
    provider.source.forget(provider.login)
    provider.token()
    assert provider.forms[2]["refresh_token"] == "refresh-9"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Fetched(400, "application/json", b'{"error":"invalid_grant","error_description":"expired"}'), "invalid_grant"),
        (Fetched(500, "text/html", b"<html>"), "500"),
        (Fetched(200, "application/json", b"[]"), "200"),
        (Fetched(200, "application/json", b'{"access_token":5}'), "200"),
        (Fetched(200, "application/json", b'{"access_token":"a\\u0001b"}'), "200"),
        (HttpsFault("connection", "refused"), "refused"),
    ],
)
def test_without_a_token_there_are_no_credentials(provider: Provider, answer: Fetched | HttpsFault, said: str) -> None:
    provider.answer = lambda: answer
    with pytest.raises(NoCredentials, match=said) as caught:
        provider.token()
    assert "refresh-1" not in str(caught.value) and "client-secret" not in str(caught.value)
    provider.answer = provider.yes
    assert provider.token() == "access-2"


def test_a_missing_refresh_token_is_asked_for_nowhere(provider: Provider) -> None:
    provider.file.unlink()
    with pytest.raises(NoCredentials, match="cannot be read"):
        provider.token()
    assert not provider.forms


def test_a_secret_is_replaced_whole_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, "new")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]
