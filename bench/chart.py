"""The chart of docs/performance.md: bars of what was measured, as SVG."""

from __future__ import annotations

import html

from bench.measured import Measured, number

BAR, GAP, LEFT, WIDTH = 16, 6, 210, 760
_COLOURS = {"relay": "#1b7f4d", "Postfix": "#4a6fa5", "Exim": "#8a8a8a", "OpenSMTPD": "#b0a070"}


def chart(measured: Measured) -> str:
    """Bars: each work's rates, the longest bar of each as long as the others'."""
    shapes: list[str] = []
    y = 10
    for name, peers in measured.rounds.items():
        unit, _ = measured.units[name]
        bars = {peer: measured.median(name, peer) for peer in peers if not peer.startswith("source")}
        if unit in ("ms", "KiB each") or not any(bars.values()):
            continue
        y += 14
        shapes.append(f'<text x="0" y="{y}" class="work">{html.escape(name)}, {unit}</text>')
        y += 8
        for peer, value in bars.items():
            length = (WIDTH - LEFT - 80) * value / max(bars.values())
            colour = next((_COLOURS[key] for key in _COLOURS if peer.startswith(key)), "#999")
            middle = y + BAR - 4
            shapes.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{html.escape(peer)}</text>')
            shapes.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>')
            shapes.append(f'<text x="{LEFT + length + 6:.0f}" y="{middle}">{number(value)}</text>')
            y += BAR + GAP
        y += 12
    style = "text{font:12px sans-serif;fill:#222}.work{font-weight:bold}"
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">'
        f'<rect width="100%" height="100%" fill="#fff"/><style>{style}</style>\n{body}\n</svg>\n'
    )
