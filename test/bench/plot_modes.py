#!/usr/bin/env python3
"""Draws what each mode costs by the number of Services, as SVG: plot_modes.py RESULTS.csv OUT.svg

RESULTS has lines `mode,services,start_seconds,change_milliseconds,slowest_connect_microseconds`, as bench_modes writes
them. Three panels side by side; all axes are logarithmic.
"""
import csv
import math
import sys

from plot import STYLE

MODES = [
    ("nftables", "nftables", "blue", "", "circle"),
    ("iptables-nft", "iptables, nft variant", "green", "", "square"),
    ("iptables-legacy", "iptables, legacy variant", "orange", "7 5", "diamond"),
]
PANELS = [
    ("start_seconds", "Start from nothing", "s"),
    ("change_milliseconds", "One endpoint changed", "ms"),
    ("slowest_connect_microseconds", "Connect and close, slowest Service", "µs"),
]
WIDTH, HEIGHT = 1000, 420
PANEL, TOP, BOTTOM, GAP = 260, 84, 70, 66


def shape(kind: str, x: float, y: float, css: str) -> str:
    if kind == "circle":
        return f'<circle class="{css} point" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect class="{css} point" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"{turn}/>'


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def panel(rows: list[dict[str, str]], column: str, title: str, unit: str, left: float) -> list[str]:
    sizes = sorted({int(row["services"]) for row in rows})
    values = [float(row[column]) for row in rows]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    span = max(math.log10(sizes[-1] / sizes[0]), 0.1)

    def x(services: int) -> float:
        return left + 16 + math.log10(services / sizes[0]) / span * (PANEL - 32)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<text x="{left}" y="{TOP - 14}">{title}, {unit}</text>']
    for exponent in range(low, high + 1):
        at = y(10.0**exponent)
        out.append(f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{left + PANEL}" y2="{at:.1f}"/>')
        out.append(f'<text class="small" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{number(10.0**exponent)}</text>')
    for services in sizes:
        out.append(f'<text class="small" x="{x(services):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{services:,}</text>')
    for mode, _, css, dashes, kind in MODES:
        points = sorted((int(row["services"]), float(row[column])) for row in rows if row["mode"] == mode)
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        for (a, t), (b, u) in zip(points, points[1:]):
            ends = f'x1="{x(a):.1f}" y1="{y(t):.1f}" x2="{x(b):.1f}" y2="{y(u):.1f}"'
            out.append(f'<line class="{css}" {ends} stroke-width="2"{dash}/>')
        out.extend(shape(kind, x(a), y(t), css) for a, t in points)
    return out


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        print(f"{sys.argv[1]}: nothing to draw", file=sys.stderr)
        return 1
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {size} role="img">',
        "<title>What each mode costs, by the number of Services</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="background" {size} rx="8"/>',
    ]
    for i, (_, name, css, dashes, kind) in enumerate(MODES):
        x, y = 70 + i * 280, 34
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        out.append(f'<line class="{css}" x1="{x}" y1="{y}" x2="{x + 34}" y2="{y}" stroke-width="2"{dash}/>')
        out.append(shape(kind, x + 17, y, css))
        out.append(f'<text x="{x + 42}" y="{y + 5}">{name}</text>')
    for i, (column, title, unit) in enumerate(PANELS):
        out.extend(panel(rows, column, title, unit, 60 + i * (PANEL + GAP)))
    out.append(f'<text class="small" x="{WIDTH / 2}" y="{HEIGHT - 18}" text-anchor="middle">Services; all axes are logarithmic</text>')
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join([*out, "</svg>", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
