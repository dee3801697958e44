"""Getting a refresh token from a person with a browser: the device authorization grant (RFC 8628).

The rule that must not be broken: nothing that a provider says reaches the terminal unprintable, and no token does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from relay.deliver.keyring import NoCredentials
from relay.deliver.oauth import FORM, client_of, members, refusal
from relay.operate import rules
from relay.operate.cli.speech import EX_CONFIG, EX_UNAVAILABLE, Stop
from relay.operate.settings.delivering import Route
from relay.route.credentials import OAuth

TIMEOUT_S = 30.0
ANSWER_LIMIT_OCTETS = 64 * 1024
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

Post = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, object]]]
"""Sends a form to a URL; gives the status and the members of the answer.  Raises NoAnswer."""


class NoAnswer(Stop):
    """Nobody answers; the same question may be answered later."""


def device_login(route: Route, ask: Post, sleep: Callable[[float], object], say: Callable[[str], object]) -> str:
    """The refresh token that a person has granted in a browser.  Raises Stop.

    sleep  waits for so many seconds
    """
    said, known = route.oauth, rules.login_of(route)
    assert said is not None and known is not None and known.oauth is not None
    if said.device_endpoint is None:
        why = "the route has no device_endpoint; add it under oauth: (docs/smarthosts.md has those of providers)"
        raise Stop(why, EX_CONFIG)
    client = _client(known.oauth)
    form = client | ({"scope": said.scope} if said.scope else {})
    status, answer = ask(said.device_endpoint, form)
    code, shown = answer.get("device_code"), answer.get("user_code")
    where = answer.get("verification_uri") or answer.get("verification_url")  # Google's name is older than the law
    if status != 200 or not all(isinstance(one, str) for one in (code, shown, where)):
        raise Stop(f"{said.device_endpoint} gives no code: {refusal(status, answer)}", EX_UNAVAILABLE)
    say(f"Open {where} in any browser, log in as {route.user}, and enter this code: {shown}")
    interval_s = _number(answer.get("interval"), 5.0)
    left_s = _number(answer.get("expires_in"), 600.0)
    while left_s > 0:
        sleep(interval_s)
        left_s -= interval_s
        try:
            status, answer = ask(said.token_endpoint, client | {"grant_type": DEVICE_GRANT, "device_code": str(code)})
        except NoAnswer:
            if left_s <= 0:
                raise
            interval_s *= 2  # RFC 8628 §3.5: a lost connection ends no login that a person is in the middle of
            continue
        error = answer.get("error")
        if error == "slow_down":
            interval_s += 5.0  # RFC 8628 §3.5
        elif status == 200:
            return _refresh_token(answer, said.scope)
        elif error != "authorization_pending":
            raise Stop(f"{said.token_endpoint} gives no token: {refusal(status, answer)}", EX_UNAVAILABLE)
    raise Stop("the code has expired; run this again", EX_UNAVAILABLE)


def _refresh_token(answer: Mapping[str, object], scope: str) -> str:
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not token.isprintable() or not token:
        help_ = "; Microsoft gives one only with offline_access in scope" if "offline_access" not in scope else ""
        raise Stop(f"the provider gave an access token, and no refresh token{help_}", EX_UNAVAILABLE)
    return token


def _client(known: OAuth) -> dict[str, str]:
    try:
        return client_of(known)
    except NoCredentials as none:
        raise Stop(str(none), EX_CONFIG) from None


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def post(url: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, object]]:
    """Sends a form; gives the status and the members of the JSON answer.  Raises NoAnswer."""
    request = Request(url, urlencode(form).encode(), {"Content-Type": FORM, "Accept": "application/json"})
    try:
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
            return answer.status, members(answer.read(ANSWER_LIMIT_OCTETS))
    except HTTPError as error:
        with error:
            return error.code, members(error.read(ANSWER_LIMIT_OCTETS))
    except (URLError, OSError, HTTPException) as error:
        raise NoAnswer(f"{url}: {getattr(error, 'reason', error)}", EX_UNAVAILABLE) from None
