"""Telling systemd how we are (sd_notify(3)): one datagram, to the socket that NOTIFY_SOCKET names.

Does nothing when nobody asked, and never fails: a service manager that does not listen stops no mail.
"""

from __future__ import annotations

import os
import socket
import time

READY = "READY=1"
STOPPING = "STOPPING=1"


def reloading() -> str:
    """What Type=notify-reload wants to hear before the reload; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def status(text: str) -> str:
    """What ``systemctl status`` shows."""
    return "STATUS=" + text.replace("\n", " ")


def notify(*states: str) -> None:
    """Tells these states."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto("\n".join(states).encode(), address)
    except OSError:
        pass
