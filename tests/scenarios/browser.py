"""Debian's Chromium without a window, driven by Playwright, in front of the page of a real relay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.scenarios.peers import program

ARGUMENTS = (
    "--no-sandbox",  # CI is root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped, or fails where CI promised to have it."""
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """A window of its own, with cookies of its own; whatever its console complains of fails the test at its end."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(path)
        return self.page


@contextmanager
def window(browser: Browser, address: str, expected: tuple[str, ...] = (), **settings: Any) -> Iterator[Window]:
    """expected  parts of complaints that belong to what is tested"""
    context = browser.new_context(base_url=address, **{"viewport": DESKTOP, "color_scheme": "light", **settings})
    context.set_default_timeout(10_000)
    found = Window(context.new_page())
    found.page.on("console", lambda said: said.type in ("error", "warning") and found.complaints.append(said.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    try:
        yield found
        assert [one for one in found.complaints if not any(part in one for part in expected)] == []
    finally:
        context.close()


CONTRAST = """
() => {
  const channel = (c) => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!walk.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true }) || box.width < 2) continue;
    const below = behind(element);
    const front = over(parse(getComputedStyle(element).color), below);
    const [light, dark] = [luminance(front), luminance(below)].sort((a, b) => b - a);
    const ratio = (light + .05) / (dark + .05);
    const text = walk.currentNode.data.trim().slice(0, 40);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.className || element.tagName}: ${text}`);
  }
  return faint;
}
"""
"""What of the text of a page has less than 4.5 : 1 against what is really behind it (WCAG 2.2, 1.4.3)."""

CUT = """
() => [document.documentElement, ...document.querySelectorAll("main, .card")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.tagName}.${one.className} ${one.scrollWidth} > ${one.clientWidth}`)
"""
"""What has more in it than it shows."""

SMALL = """
() => [...document.querySelectorAll("a, button, input, select, summary")]
  .filter((one) => one.checkVisibility() && one.type !== "hidden" && !one.matches(".skip"))
  .filter((one) => one.tagName !== "A" || !one.closest("p, dd, td, th, li, .head"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24))
  .map(([one, box]) => `${one.outerHTML.slice(0, 80)} ${box.width}x${box.height}`)
"""
"""What is pressed and is smaller than 24 x 24 (WCAG 2.2, 2.5.8); links within text are excepted by it."""

FOCUS = """
() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  return { tag: one.tagName, name: one.getAttribute("aria-label") || one.textContent.trim().slice(0, 60) || one.id,
           outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
}
"""
