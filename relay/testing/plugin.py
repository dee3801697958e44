"""The fixtures.  pytest loads this in every run where relay is installed, so it loads nothing by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from relay.testing.server import RelayServer
    from relay.testing.world import RelayWorld


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--relay-seed``."""
    parser.addoption(
        "--relay-seed",
        default="0",
        metavar="SEED",
        help="What chance does in the worlds of the fixture relay_world. Default: 0, the same in each run.",
    )


@pytest.fixture
def relay_world(request: pytest.FixtureRequest) -> Iterator[RelayWorld]:
    """A relay in a world of its own, where time passes when the test says so, with next hops that misbehave."""
    from relay.testing.world import RelayWorld

    with RelayWorld(request.config.getoption("--relay-seed")) as world:
        yield world


@pytest.fixture
def relay_server() -> Iterator[RelayServer]:
    """A relay on a free port of this machine, and a next hop that catches its mail: real sockets, real time."""
    from relay.testing.server import RelayServer

    with RelayServer() as server:
        yield server
