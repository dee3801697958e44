"""What a scanner of TLS finds at our listeners: nothing that is worse than low."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.scenarios.peers import destination, program
from tests.scenarios.secured import secured_relay

pytestmark = [pytest.mark.endtoend, pytest.mark.slow]

OUR_CERTIFICATE = "cert"
"""Findings about the certificate that this test made for itself, which is in no list and names no revocation."""


@pytest.mark.parametrize("listener", ["relay", "submissions"])
def test_a_scanner_finds_nothing_above_low(listener: str, tmp_path: Path) -> None:
    with destination() as hop, secured_relay(tmp_path, hop.port) as secured:
        how = ("-t", "smtp") if listener == "relay" else ()
        where = f"localhost:{secured.ports[listener]}"
        found = tmp_path / "found.json"
        done = subprocess.run(
            [
                program("testssl"),
                "--warnings",
                "off",
                "--color",
                "0",
                "--jsonfile",
                found,
                "-p",
                "-s",
                "-f",
                "-U",
                *how,
                where,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert found.exists(), done.stdout + done.stderr
        findings = json.loads(found.read_text(encoding="utf-8"))
        assert any(one["id"] == "TLS1_3" for one in findings), done.stdout
        bad = [one for one in findings if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL")]
        assert [one for one in bad if not one["id"].startswith(OUR_CERTIFICATE)] == []
