"""What is written can be read: the contrast of the style sheet's colours, by the formula of WCAG 2.2.

Text needs 4.5 : 1 (1.4.3), what is drawn and the edges of fields 3 : 1 (1.4.11).
"""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

CSS = (files("relay.operate.web") / "assets" / "relay.css").read_text(encoding="utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", CSS)
}

SURFACES = ("paper", "sheet", "sunken")
TEXT = [
    *product(("ink", "quiet", "accent", "bad", "warn"), SURFACES),
    ("on-accent", "accent"),
    ("sheet", "bad"),  # the button that removes
    *((name, f"{name}-soft") for name in ("accent", "good", "warn", "bad", "calm")),
    ("ink", "accent-soft"),
    ("quiet", "accent-soft"),
    ("ink", "warn-soft"),
    ("ink", "bad-soft"),
    ("accent", "warn-soft"),
    ("accent", "bad-soft"),
]
DRAWN = [
    *product(("edge",), SURFACES),
    *product(("chart-accent", "chart-good", "chart-warn", "chart-bad", "chart-calm"), ("sheet",)),
    *product(("accent",), SURFACES),  # what has the focus
    ("chart-accent", "sunken"),
    ("chart-accent", "line"),
]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back"), TEXT)
def test_text_can_be_read(front: str, back: str, scheme: str) -> None:
    found = contrast(*(TOKENS[name][scheme == "dark"] for name in (front, back)))
    assert found >= 4.5, f"{front} on {back}: {found:.2f}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back"), DRAWN)
def test_what_is_drawn_can_be_seen(front: str, back: str, scheme: str) -> None:
    found = contrast(*(TOKENS[name][scheme == "dark"] for name in (front, back)))
    assert found >= 3, f"{front} on {back}: {found:.2f}"


def test_colours_stand_only_among_the_tokens() -> None:
    """Else what is computed here would not be what is seen."""
    body = CSS[CSS.index("--text:") :]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", body) == []
    used = set(re.findall(r"var\(--([\w-]+)", CSS))
    defined = set(re.findall(r"--([\w-]+):", CSS))
    assert used <= defined, used - defined
    assert defined <= used, f"not used: {defined - used}"
