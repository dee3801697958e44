"""``/health``: 200 or 503, and what is wrong, in words.

    200  ``ok``, or ``warning``: something wants to be looked at before it becomes wrong
    503  ``wrong``: mail is not taken, or does not go on

For who watches over the relay.  Who restarts what does not answer asks ``/health/live``: that is 200 as long as there
is somebody to answer, since no restart helps against a full disk.

Words are for those who may come in (relay.operate.web.entry); others hear only which of the three it is.
"""

from __future__ import annotations

from http import HTTPStatus

from twisted.web.server import Request

from relay.operate import complaints
from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.web.answering import Answered, Answering, in_json, plain
from relay.operate.web.entry import Entry
from relay.operate.web.page import Asks


class Health(Answering):
    """See the module."""

    def __init__(self, asks: Asks, entry: Entry) -> None:
        super().__init__()
        self._asks = asks
        self._entry = entry

    async def answer(self, request: Request) -> Answered:
        if request.postpath == [b"live"]:
            return in_json(HTTPStatus.OK, {"status": "alive"})
        if any(request.postpath or ()):
            return plain(HTTPStatus.NOT_FOUND, "There is /health, and /health/live.\n")
        found = await self._found()
        is_wrong = any(one["level"] == "wrong" for one in found)
        status = "wrong" if is_wrong else "warning" if found else "ok"
        code = HTTPStatus.SERVICE_UNAVAILABLE if is_wrong else HTTPStatus.OK
        said: dict[str, object] = {"status": status}
        if self._entry.is_in(request):
            said["complaints"] = sorted(found, key=lambda one: str(one["level"]), reverse=True)
        return in_json(code, said)

    async def _found(self) -> list[dict[str, object]]:
        try:
            row = await self._asks.ask_one("health")
        except (NotRunning, CannotAsk, Refusal) as why:
            return [{"about": "worker", "level": "wrong", "what": f"no part of the relay answers: {why}", "do": ""}]
        silent = [dict(complaint.row()) for complaint in complaints.of_silence(row["silent"])]
        return [*silent, *row["complaints"]]
