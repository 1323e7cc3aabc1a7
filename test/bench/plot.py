#!/usr/bin/env python3
"""Draws time against size as SVG: plot.py RESULTS.csv OUT.svg

RESULTS has lines `series,services,endpoints,seconds`, as bench_sync writes them. Both axes are logarithmic. The picture
has a background of its own and follows the reader's preference for light or dark, so it can be read on either page.
"""
import csv
import math
import sys

PEER_LIMIT_SECONDS = 120
WIDTH, HEIGHT = 900, 590
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 124, 90

# Series, name, colour (Okabe and Ito's, told apart by most eyes), dashes, shape of the points.
SERIES = [
    ("peer-start", "kube-proxy's layout, all (nft -f)", "orange", "7 5", "square"),
    ("peer-change", "kube-proxy's layout, one endpoint (nft -f)", "orange", "2 4", "diamond"),
    ("start", "ghostip, start from nothing", "blue", "", "square"),
    ("restart", "ghostip, restart, nothing changed", "green", "", "circle"),
    ("change", "ghostip, one endpoint (median)", "blue", "2 4", "diamond"),
]

STYLE = """
  .background { fill: #ffffff; } text { fill: #24292f; font: 14px sans-serif; }
  .title { font-size: 17px; font-weight: bold; }
  .small { font-size: 12px; fill: #57606a; } .grid { stroke: #d8dee4; } .axis { stroke: #57606a; }
  .orange { stroke: #d55e00; } .blue { stroke: #0072b2; } .green { stroke: #009e73; }
  .orange.point { fill: #d55e00; } .blue.point { fill: #0072b2; } .green.point { fill: #009e73; }
  @media (prefers-color-scheme: dark) {
    .background { fill: #161b22; } text { fill: #e6edf3; } .small { fill: #9da7b1; } .grid { stroke: #30363d; }
    .axis { stroke: #9da7b1; }
    .orange { stroke: #ff9d4d; } .blue { stroke: #58b4f0; } .green { stroke: #3fcf9f; }
    .orange.point { fill: #ff9d4d; } .blue.point { fill: #58b4f0; } .green.point { fill: #3fcf9f; }
  }
"""


def read(path: str) -> dict[str, list[tuple[int, int, float]]]:
    series: dict[str, list[tuple[int, int, float]]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            point = (int(row["services"]), int(row["endpoints"]), float(row["seconds"]))
            series.setdefault(row["series"], []).append(point)
    return series


def duration(exponent: int) -> str:
    if exponent >= 0:
        return f"{10 ** exponent:,} s"
    return f"{10 ** (exponent + 3)} ms" if exponent >= -3 else f"{10 ** (exponent + 6)} µs"


def point(shape: str, x: float, y: float, css: str) -> str:
    if shape == "circle":
        return f'<circle class="{css} point" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if shape == "diamond" else ""
    return f'<rect class="{css} point" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"{turn}/>'


class Picture:
    def __init__(self, series: dict[str, list[tuple[int, int, float]]]):
        self.series = series
        self.sizes = sorted({(s * e, s, e) for points in series.values() for s, e, _ in points})
        seconds = [t for points in series.values() for _, _, t in points]
        self.low = math.floor(math.log10(min(seconds)))
        self.high = math.ceil(math.log10(max(seconds + [PEER_LIMIT_SECONDS])))
        self.first, self.last = (math.log10(self.sizes[i][0]) for i in (0, -1))
        self.out: list[str] = []

    def x(self, size: int) -> float:
        span = max(self.last - self.first, 0.1)
        return LEFT + 40 + (math.log10(size) - self.first) / span * (WIDTH - LEFT - RIGHT - 90)

    def y(self, seconds: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(seconds) - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "middle", more: str = "") -> None:
        name = f' class="{css}"' if css else ""
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}"{name} text-anchor="{anchor}"{more}>{words}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.out.append(f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def axes(self) -> None:
        bottom = HEIGHT - BOTTOM
        for exponent in range(self.low, self.high + 1):
            y = self.y(10.0**exponent)
            self.line(LEFT, y, WIDTH - RIGHT, y, "grid")
            self.text(LEFT - 8, y + 5, duration(exponent), anchor="end")
        for size, services, endpoints in self.sizes:
            x = self.x(size)
            self.line(x, TOP, x, bottom, "grid")
            self.text(x, bottom + 20, f"{size:,}")
            self.text(x, bottom + 37, f"{services:,} × {endpoints}", "small")
        self.line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis")
        self.line(LEFT, TOP, LEFT, bottom, "axis")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 20, "endpoints (Services × endpoints of each), logarithmic")
        middle = (TOP + bottom) / 2
        self.text(22, middle, "time, logarithmic", more=f' transform="rotate(-90 22 {middle:.1f})"')

    def curves(self) -> None:
        for key, _, css, dashes, shape in SERIES:
            points = sorted((s * e, t) for s, e, t in self.series.get(key, []))
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            # Lines join neighbours only: none over a size that was not measured.
            sizes = [size for size, _, _ in self.sizes]
            for (a, t), (b, u) in zip(points, points[1:]):
                if sizes.index(b) == sizes.index(a) + 1:
                    ends = f'x1="{self.x(a):.1f}" y1="{self.y(t):.1f}" x2="{self.x(b):.1f}" y2="{self.y(u):.1f}"'
                    self.out.append(f'<line class="{css}" {ends} stroke-width="2"{dash}/>')
            self.out.extend(point(shape, self.x(n), self.y(t), css) for n, t in points)

    def missing(self) -> None:
        """Sizes that kube-proxy's layout does not reach within the benchmark's limit."""
        there = {s * e for s, e, _ in self.series.get("peer-start", [])}
        for size, _, _ in self.sizes:
            if size not in there:
                x, y = self.x(size), self.y(PEER_LIMIT_SECONDS)
                arrow = f"M{x:.1f} {y:.1f} v-18 m-5 6 l5 -6 l5 6"
                self.out.append(f'<path class="orange" d="{arrow}" fill="none" stroke-width="2"/>')
                self.text(x, y + 16, "> 2 min", "small")

    def legend(self) -> None:
        for i, (key, name, css, dashes, shape) in enumerate(SERIES):
            if key not in self.series:
                continue
            column, row = (0, i) if i < 2 else (1, i - 2)
            x, y = LEFT + column * 400, 50 + row * 24
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            self.out.append(f'<line class="{css}" x1="{x}" y1="{y}" x2="{x + 34}" y2="{y}" stroke-width="2"{dash}/>')
            self.out.append(point(shape, x + 17, y, css))
            self.text(x + 42, y + 5, name, anchor="start")

    def svg(self) -> str:
        self.text(LEFT, 26, "Time until the kernel has it, by size", "title", "start")
        self.axes()
        self.curves()
        self.missing()
        self.legend()
        size = f'width="{WIDTH}" height="{HEIGHT}"'
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {size} role="img">',
            "<title>Time against size: ghostip and kube-proxy's nftables layout</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="background" {size} rx="8"/>',
        ]
        return "\n".join([*head, *self.out, "</svg>", ""])


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    series = read(sys.argv[1])
    if not series:
        print(f"{sys.argv[1]}: nothing to draw", file=sys.stderr)
        return 1
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(Picture(series).svg())
    return 0


if __name__ == "__main__":
    sys.exit(main())
