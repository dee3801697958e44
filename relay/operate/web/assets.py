"""Style, script and picture, held in memory; their addresses change with what they hold, so that a browser may keep
them for good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files

from twisted.web.resource import Resource
from twisted.web.server import Request

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Assets(Resource):
    """Serves them.

    addresses  name -> where a browser gets it
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = {
            entry.name: entry.read_bytes()
            for entry in (files("relay.operate.web") / "assets").iterdir()
            if _ending(entry.name) in KINDS
        }
        self.addresses: Mapping[str, str] = {
            name: f"/assets/{name}?{hashlib.sha256(held).hexdigest()[:12]}" for name, held in self._held.items()
        }

    def render(self, request: Request) -> bytes:
        name = b"/".join(request.postpath or ()).decode("latin-1")
        held = self._held.get(name)
        if held is None:
            request.setResponseCode(HTTPStatus.NOT_FOUND)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"There is no such thing.\n"
        request.setHeader("Content-Type", KINDS[_ending(name)])
        if request.uri.decode("latin-1") == self.addresses[name]:
            request.setHeader("Cache-Control", "public, max-age=31536000, immutable")
        request.setHeader("Content-Length", str(len(held)))
        return b"" if request.method == b"HEAD" else held


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
