"""``relay oauth``: getting the refresh token for a next hop that wants OAuth 2.0."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.operate.cli.reach import chosen_config, config_option
from relay.operate.cli.speech import EX_CONFIG, EX_NOPERM, Stop, say

if TYPE_CHECKING:
    from relay.operate.settings.delivering import Route


@click.group()
def oauth() -> None:
    """Log in at providers that want OAuth 2.0."""


@oauth.command(short_help="Get a refresh token, by a code for any browser.")
@config_option
@click.option("--user", help="The user of the route, when several routes use OAuth.")
def login(config: Path | None, user: str | None) -> None:
    """Get a refresh token: shows a code, to be entered in any browser, and waits for it.

    \b
    relay oauth login --config /etc/relay/relay.yaml
    """
    from relay.deliver.oauth import write_secret
    from relay.operate.device_login import device_login, post

    route = _route(config or chosen_config(), user)
    token = device_login(route, post, time.sleep, say)
    assert route.oauth is not None
    path = route.oauth.refresh_token_file
    try:
        write_secret(path, token)
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}; run this as the relay's user", EX_NOPERM) from None
    say(f"The refresh token is in {path}. The relay's user must be able to read and write it.")


def _route(path: Path | None, user: str | None) -> Route:
    """The one route that is meant.  Raises Stop."""
    from relay.operate.config import ConfigFaults, load

    try:
        routes = [route for route in load(path).routes if route.oauth is not None]
    except ConfigFaults as faults:
        raise Stop(str(faults), EX_CONFIG) from None
    meant = {(route.user, route.oauth): route for route in routes if user in (None, route.user)}
    if len(meant) != 1:
        names = ", ".join(sorted({str(route.user) for route in routes})) or "there are none"
        raise Stop(f"say which one with --user; users of routes with oauth: {names}", EX_CONFIG)
    return next(iter(meant.values()))
