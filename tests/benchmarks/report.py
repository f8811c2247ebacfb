"""What the figures are shown as: tables, the bounds they are held against, and the plot.

Pure: it takes rows and returns or prints text.
"""

import statistics
from html import escape
from math import log10
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One figure of one client."""

    measure: str
    wire: str
    images: int
    metric: str
    client: str
    median: float
    """Over the rounds; nanoseconds, bytes or a count."""
    worst: float
    ratio: tuple[float, float, float] | None
    """Lower quartile, median and upper quartile of the ratios of each round to the baseline."""


class Bound(NamedTuple):
    """What must hold for `ours`."""

    measure: str
    metric: str
    images: int
    most: float
    aim: float | None
    wires: tuple[str, ...] = ("docker",)
    paired: bool = True
    """Whether the figure is a ratio to the baseline."""


_BOTH = ("docker", "podman")
BOUNDS = (
    Bound("latency", "wall", 1, 0.75, 0.45, _BOTH),
    Bound("latency", "wall", 100, 0.60, 0.38, _BOTH),
    Bound("latency", "wall", 1000, 0.50, 0.35, _BOTH),
    Bound("latency", "wall", 10_000, 0.45, 0.36, _BOTH),
    Bound("latency", "wall", 50_000, 0.40, 0.25, _BOTH),
    Bound("memory", "peak", 1000, 0.50, None, _BOTH),
    Bound("memory", "peak", 10_000, 0.45, None, _BOTH),
    Bound("memory", "peak", 50_000, 0.40, None, _BOTH),
    Bound("gap", "wall", 1000, 3e6, 1.3e6, _BOTH, paired=False),
    Bound("gap", "wall", 10_000, 3e6, 1.3e6, _BOTH, paired=False),
    Bound("gap", "wall", 50_000, 3e6, 1.3e6, ("docker",), paired=False),
    Bound("gap", "cpu", 10_000, 3e6, 1.3e6, _BOTH, paired=False),
    Bound("gap", "cpu", 50_000, 3e6, 1.3e6, ("docker",), paired=False),
    Bound("concurrent", "wall", 100, 0.6, 0.4),
    Bound("fleet", "first", 20, 0.5, 0.3),
    Bound("cold", "wall", 100, 0.65, 0.5),
    Bound("calls", "calls", 1, 300, 180, paired=False),
    Bound("engine", "cpu", 300, 0.5, 0.35),
)

_TITLES = {
    "latency": "One call",
    "memory": "Memory: growth of the peak during one call, in a fresh process",
    "gap": "Event loop: the longest time in which no other task ran, during one call",
    "cold": "Cold start: a new process lists once and ends",
    "concurrent": "32 calls at once on one client",
    "fleet": "200 endpoints, a client each, all at once",
    "calls": "Function calls in one call",
    "engine": "A real dockerd",
}
_METRICS: dict[str | tuple[str, str], str] = {
    ("gap", "wall"): "longest time",
    ("gap", "cpu"): "longest CPU time of its thread",
    "wall": "latency",
    "cpu": "CPU per call",
    "first": "build the clients and list",
    "warm": "list again",
}


def show(metric: str, value: float) -> str:
    """A figure with its unit."""
    if metric == "calls":
        return f"{value:.0f}"
    if metric == "peak":
        return f"{value / 2**20:.1f} MiB"
    if value < 1e6:
        return f"{value / 1e3:.0f} µs"
    return f"{value / 1e6:.{1 if value >= 1e8 else 2}f} ms"


def tables(about: dict[str, Any], rows: list[Row], baseline: str) -> str:
    """Markdown tables, one for each measure, wire and metric."""
    versions = ", ".join(f"{name} {text}" for name, text in about["versions"].items())
    lines = [
        f"{about['python']} on {about['machine']}; {versions}.",
        f"Medians of {about['rounds']} rounds, × {baseline} in the same round [quartiles].",
    ]
    for measure in dict.fromkeys(row.measure for row in rows):
        lines += ["", f"### {_TITLES[measure]}"]
        of_measure = [row for row in rows if row.measure == measure]
        for wire, metric in dict.fromkeys((row.wire, row.metric) for row in of_measure):
            part = [row for row in of_measure if (row.wire, row.metric) == (wire, metric)]
            sizes = sorted({row.images for row in part})
            name = _METRICS.get((measure, metric)) or _METRICS.get(metric)
            heads = " | ".join(f"N={size}" for size in sizes)
            lines += ["", ", ".join(filter(None, (name, f"{wire} wire"))), ""]
            lines += [f"| client | {heads} |", "|---" * (len(sizes) + 1) + "|"]
            for client in dict.fromkeys(row.client for row in part):
                cells = {row.images: _cell(row) for row in part if row.client == client}
                figures = " | ".join(cells.get(size, "–") for size in sizes)
                lines.append(f"| {client} | {figures} |")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    text = show(row.metric, row.median)
    if row.ratio is None:
        return text
    low, middle, high = row.ratio
    spread = f" [{low:.2f}–{high:.2f}]" if low != high else ""
    return f"{text} ×{middle:.2f}{spread}"


def bounds(rows: list[Row], client: str = "ours") -> str:
    """Where this library stands against what must hold."""
    lines = []
    for bound in BOUNDS:
        for row in rows:
            key = row.measure, row.metric, row.images, row.client
            if key != (bound.measure, bound.metric, bound.images, client):
                continue
            if row.wire not in bound.wires or (bound.paired and row.ratio is None):
                continue
            value = row.ratio[1] if bound.paired and row.ratio else row.median

            def text(figure: float | None, bound: Bound = bound) -> str:
                if figure is None:
                    return "–"
                return f"×{figure:.2f}" if bound.paired else show(bound.metric, figure)

            verdict = "MISSED" if value > bound.most else "holds"
            if bound.aim is not None and value <= bound.aim:
                verdict = "at the aim"
            what = f"{bound.measure} {bound.metric}, {row.wire} wire"
            limits = f"{text(bound.most)} | {text(bound.aim)}"
            lines.append(f"| {what} | {bound.images} | {text(value)} | {limits} | {verdict} |")
    head = [f"### {client}, against the bounds", ""]
    head += ["| measure | N | now | at most | aim | |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *lines]) if lines else ""


_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 13px }
.axis, .grid { stroke: #888; stroke-width: 1 } .grid { stroke-opacity: .25 }
path { fill: none; stroke-width: 1.5 } .ours { stroke-width: 3; font-weight: 700 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }
</style>"""
_COLOURS = {
    "ours": "#2a7de1",
    "aiodocker": "#d1495b",
    "aiohttp+msgspec": "#e08e0b",
    "httpx+msgspec": "#8e5ea2",
    "docker-py": "#3a9d6e",
    "podman-py": "#9a6b4f",
    "floor": "#888888",
}


_ENGINE_COLOURS = {
    "docker 26.1 containerd": "#d1495b",
    "docker 28.5 containerd": "#2a7de1",
    "podman 5.8": "#8e5ea2",
    "docker 26.1": "#e08e0b",
    "docker 28.5": "#3a9d6e",
    "whole list": "#2a7de1",
    "ten dangling": "#e08e0b",
    "one name": "#3a9d6e",
}


def draw(rows: list[Row]) -> str:
    """Two panels: latency relative to the baseline, and the longest gap of the event loop."""
    latency, gap = (
        [row for row in rows if (row.measure, row.wire, row.metric) == key]
        for key in (("latency", "docker", "wall"), ("gap", "docker", "wall"))
    )
    left = _panel(
        0,
        "Time of one call, relative to aiodocker",
        [(row.client, row.images, row.ratio[1]) for row in latency if row.ratio],
        lambda value: f"×{value:g}",
    )
    right = _panel(
        480,
        "Longest time the event loop stood still",
        [(row.client, row.images, row.median / 1e6) for row in gap],
        lambda value: f"{value:g} ms",
    )
    return _picture(left, right)


def draw_engines(rows: list[dict[str, Any]]) -> str:
    """Two panels: the whole list by engine, and by question where questions are narrow."""

    def points(row: dict[str, Any], question: str, name: str) -> tuple[str, int, float]:
        return name, row["images"], statistics.median(row["seconds"][question]) * 1000

    def unit(value: float) -> str:
        return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"

    narrow = [row for row in rows if row["engine"] == "docker 28.5 containerd"]
    return _picture(
        _panel(
            0,
            "The whole list",
            [points(row, "whole list", row["engine"]) for row in rows],
            unit,
            _ENGINE_COLOURS,
        ),
        _panel(
            480,
            "Docker 28.5, containerd store",
            [
                points(row, question, question)
                for row in narrow
                for question in ("whole list", "ten dangling", "one name")
            ],
            unit,
            _ENGINE_COLOURS,
        ),
    )


def engine_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of what questions take on real engines, with paired ratios."""
    names = list(rows[0]["seconds"]) if rows else []
    lines = [f"| engine | images | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        whole = row["seconds"]["whole list"]
        cells = []
        for name, seconds in row["seconds"].items():
            cell = f"{statistics.median(seconds) * 1000:.0f} ms"
            if name not in ("engine alone", "whole list"):
                ratios = [one / other for one, other in zip(seconds, whole, strict=True)]
                cell += f" ×{statistics.median(ratios):.2g}"
            cells.append(cell)
        kind, *store = row["engine"].split()[::2]
        graph = "graph driver (vfs)" if kind == "docker" else "vfs"
        where = "containerd store (native)" if store else graph
        engine = f"{kind.title()} {row['version'].partition('+')[0]}, {where}"
        lines.append(f"| {engine} | {row['images']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def between(page: str, mark: str, text: str) -> str:
    """The page with this text between its marks."""
    before, opening, rest = page.partition(f"<!-- {mark} -->\n")
    _, closing, after = rest.partition(f"<!-- /{mark} -->")
    return f"{before}{opening}\n{text}\n\n{closing}{after}"


def _picture(*panels: str) -> str:
    size = 'width="960" height="340" viewBox="0 0 960 340"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return f"{svg}\n{_STYLE}\n{''.join(panels)}</svg>\n"


def _panel(
    left: int,
    title: str,
    points: list[tuple[str, int, float]],
    unit: Any,
    colours: dict[str, str] = _COLOURS,
) -> str:
    points = [point for point in points if point[0] in colours]
    if not points:
        return ""
    sizes = sorted({size for _, size, _ in points})
    steps = [step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5)]
    low = max((step for step in steps if step <= min(value for *_, value in points)), default=1e-3)
    high = min((step for step in steps if step >= max(value for *_, value in points)), default=5e4)
    width, top, bottom = 290, 40, 300

    def across(size: int) -> float:
        return left + 60 + width * sizes.index(size) / max(1, len(sizes) - 1)

    def down(value: float) -> float:
        return bottom - (bottom - top) * log10(value / low) / max(1e-9, log10(high / low))

    parts = [f'<text class="title" x="{left + 60}" y="20">{escape(title)}</text>\n']
    for step in steps:
        if low <= step <= high:
            line = f'x1="{left + 60}" x2="{left + 60 + width}" y1="{down(step):.1f}"'
            parts.append(f'<line class="grid" {line} y2="{down(step):.1f}"/>')
            place = f'x="{left + 52}" y="{down(step) + 4:.1f}" text-anchor="end"'
            parts.append(f"<text {place}>{unit(step)}</text>\n")
    for size in sizes:
        label = f"{size:,}".replace(",", " ")
        place = f'x="{across(size):.1f}" y="{bottom + 18}" text-anchor="middle"'
        parts.append(f"<text {place}>{label}</text>\n")
    parts.append(f'<text x="{left + 60 + width / 2}" y="{bottom + 36}" text-anchor="middle">')
    parts.append("images</text>\n")
    labels: list[tuple[float, str]] = []
    for client in dict.fromkeys(name for name, *_ in points):
        line = [(across(size), down(value)) for name, size, value in points if name == client]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
        mark = ' class="ours"' if client == "ours" else ""
        parts.append(f'<path{mark} d="{path}" stroke="{colours[client]}"/>\n')
        labels.append((line[-1][1], client))
    height = -1e9
    for y, client in sorted(labels):
        height = max(y, height + 14)  # names do not lie on each other
        mark = ' class="ours"' if client == "ours" else ""
        place = f'x="{left + 66 + width}" y="{height + 4:.1f}"'
        parts.append(f'<text{mark} {place} style="fill:{colours[client]}">{client}</text>\n')
    return "".join(parts)
