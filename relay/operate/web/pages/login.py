"""Coming in with the token, going again, and choosing between light and dark."""

from __future__ import annotations

from http import HTTPStatus
from math import isinf
from typing import Any, cast

from twisted.internet.task import deferLater

from relay.operate.web.entry import SHUT
from relay.operate.web.page import THEMES, Call, Elsewhere, Page, Shown, error, is_secure, local_path


class Login(Page):
    """The form that asks for the token."""

    name = "login"
    title = "Log in"

    async def show(self, call: Call) -> Shown | Elsewhere:
        if self.house.entry.is_in(call.request):
            return Elsewhere(local_path(call.asked("next")))
        return error(SHUT.status, SHUT.why) if self.house.entry.is_shut else self._form(call, "")

    async def change(self, call: Call) -> Shown | Elsewhere:
        clock, entry = self.house.clock, self.house.entry
        if entry.is_shut:
            return error(SHUT.status, SHUT.why)
        visitor, held_back_s = entry.try_token(call.request, call.said("token"))
        if visitor is not None:
            call.visitor = visitor
            return Elsewhere(local_path(call.said("next")))
        if isinf(held_back_s):
            return self._form(call, "Too many wrong tokens came from here. Wait some minutes.", locked=True)
        await deferLater(cast(Any, clock), held_back_s, lambda: None)
        return self._form(call, "This is not the token.")

    def _form(self, call: Call, wrong: str, locked: bool = False) -> Shown:
        status = HTTPStatus.TOO_MANY_REQUESTS if locked else HTTPStatus.FORBIDDEN if wrong else HTTPStatus.OK
        back = local_path(call.asked("next") or call.said("next"))
        return Shown("login.html", {"wrong": wrong, "next": back}, status)


class Logout(Page):
    """Ends the session."""

    name = "logout"

    async def show(self, call: Call) -> Shown | Elsewhere:
        return Elsewhere("/")

    async def change(self, call: Call) -> Shown | Elsewhere:
        self.house.entry.log_out(call.request)
        return Elsewhere("/login")


class Theme(Page):
    """Light, dark, or as the system has it."""

    name = "theme"

    async def show(self, call: Call) -> Shown | Elsewhere:
        return Elsewhere("/")

    async def change(self, call: Call) -> Shown | Elsewhere:
        wanted = call.said("theme")
        call.request.addCookie(
            b"relay-theme",
            wanted if wanted in THEMES else "",
            path=b"/",
            max_age=b"31536000" if wanted in THEMES else b"0",
            secure=is_secure(call.request),
            sameSite=b"strict",
        )
        return Elsewhere(local_path(call.said("back")))
