"""Who is told, as the configuration has it, and how he is reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import Deferred

from relay.deliver.keyring import NoCredentials, read_secret
from relay.operate.config import Config
from relay.operate.settings.webhooks import Webhook
from relay.operate.surroundings import Surroundings
from relay.operate.values import masked
from relay.operate.webhooks.courier import Receiver
from relay.operate.webhooks.signature import UnusableSecret, secret_of
from relay.route.https import Fetched, Https

TIMEOUT_S = 20.0
ANSWER_LIMIT_OCTETS = 1 << 20
"""Of an answer only the status counts; but one that is cut off is none."""
JSON = "application/json"


def receivers(config: Config, around: Surroundings) -> Mapping[str, Receiver]:
    """Address -> who is told there."""
    shown = [masked(hook.url) for hook in config.webhooks]
    names = [f"{name} #{number}" if shown.count(name) > 1 else name for number, name in enumerate(shown, 1)]
    return {
        hook.url: Receiver(
            names[number],
            frozenset(hook.events),
            lambda path=hook.secret_file: secret_in(path),  # type: ignore[misc]
            _Poster(hook, _https_for(hook, config, around)),
            config.place(f"webhooks[{number}]"),
        )
        for number, hook in enumerate(config.webhooks)
    }


def secret_in(path: Path) -> bytes:
    """Raises UnusableSecret."""
    try:
        return secret_of(read_secret(str(path)))
    except NoCredentials as error:
        raise UnusableSecret(str(error)) from None
    except UnusableSecret as error:
        raise UnusableSecret(f"{path}: {error}") from None


def _https_for(hook: Webhook, config: Config, around: Surroundings) -> Https:
    if hook.authorities is None and around.https is not None:
        return around.https
    authorities = str(hook.authorities) if hook.authorities is not None else ""
    return Https(
        around.reactor, around.names, around.hosts, authorities=authorities, unreachable=config.dns.unreachable
    )


class _Poster:
    """Fits relay.operate.webhooks.courier.Post."""

    def __init__(self, hook: Webhook, https: Https) -> None:
        self._url = hook.url
        self._https = https

    def __call__(self, body: bytes, fields: Mapping[str, str], /) -> Deferred[int]:
        asked = self._https.request(
            "POST",
            self._url,
            limit_octets=ANSWER_LIMIT_OCTETS,
            timeout_s=TIMEOUT_S,
            body=body,
            kind=JSON,
            ours=True,
            fields=fields,
        )
        return asked.addCallback(_status)


def _status(answer: Fetched) -> int:
    return answer.status
