"""Charts as SVG text, without a script or a file of their own: lines over time, bars side by side, bars across.

Everything that comes from data is escaped. Sizes are in CSS pixels; a chart scales with its column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 240
COLOURS: Final = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 30, 24
_ROW: Final = 22
_NAME_CHARACTERS: Final = 34


def lines(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str = "") -> str:
    """Lines over `labels` (the x axis); None leaves a gap. Raises ValueError when a series has another length."""
    _check(labels, series)
    low, high, ticks = _scale([value for row in series.values() for value in row if value is not None], zero=False)
    parts = [_grid(ticks, low, high, unit), _x_axis(labels, centred=False)]
    for index, (name, row) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        for run in _runs(row):
            points = " ".join(f"{_x(at, len(labels)):.1f},{_y(value, low, high):.1f}" for at, value in run)
            if len(run) == 1:
                parts.append(f'<circle cx="{points.split(",")[0]}" cy="{points.split(",")[1]}" r="2" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(_legend(index, name, len(series)))
    return _svg(title, HEIGHT, parts)


def bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str = "") -> str:
    """Bars over `labels`, those of several series stacked. Raises ValueError when a series has another length."""
    _check(labels, series)
    totals = [sum(row[at] for row in series.values()) for at in range(len(labels))]
    low, high, ticks = _scale(totals, zero=True)
    parts = [_grid(ticks, low, high, unit), _x_axis(labels, centred=True)]
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    base = [0.0] * len(labels)
    for index, (name, row) in enumerate(series.items()):
        for at, value in enumerate(row):
            top, bottom = _y(base[at] + value, low, high), _y(base[at], low, high)
            if value > 0:
                words = escape(f"{labels[at]} {name}: {number(value)}{unit}")
                parts.append(
                    f'<rect x="{_LEFT + at * step + step * 0.1:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" '
                    f'height="{max(0.5, bottom - top):.1f}" fill="{COLOURS[index % len(COLOURS)]}"><title>{words}</title></rect>'
                )
            base[at] += value
        parts.append(_legend(index, name, len(series)))
    return _svg(title, HEIGHT, parts)


def across(title: str, values: Mapping[str, float], unit: str = "") -> str:
    """One horizontal bar for each name, the longest first."""
    rows = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    longest = max((value for _, value in rows), default=0) or 1
    left, room = 250, WIDTH - 250 - 80
    parts = []
    for at, (name, value) in enumerate(rows):
        y = _TOP + at * _ROW
        short = name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"
        width = max(1.0, room * value / longest) if value > 0 else 0
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(short)}<title>{escape(name)}</title></text>'
            f'<rect x="{left}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 6}" fill="{COLOURS[0]}"/>'
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{escape(number(value) + unit)}</text>'
        )
    return _svg(title, _TOP + max(1, len(rows)) * _ROW + 6, parts)


def number(value: float) -> str:
    """A number for people: thousands separated, three figures behind a small one's point, M and B for large ones."""
    for limit, letter in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= 10 * limit:
            return f"{value / limit:,.0f}{letter}"
    if value == int(value) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _check(labels: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> None:
    for name, row in series.items():
        if len(row) != len(labels):
            raise ValueError(f"series {name} has {len(row)} values for {len(labels)} labels")


def _scale(values: Sequence[float], *, zero: bool) -> tuple[float, float, list[float]]:
    """Lower and upper end of an axis, and its ticks, about five at round numbers."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low = min(0.0, low)
    if high <= low:
        high = low + (abs(low) * 0.01 or 1.0)
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [round(at * step, 10) for at in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _x(at: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at / max(1, count - 1))


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - (value - low) / (high - low))


def _runs(row: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The stretches of a series between its gaps."""
    found: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(row):
        if value is None:
            found.append([])
        else:
            found[-1].append((at, value))
    return [run for run in found if run]


def _grid(ticks: Sequence[float], low: float, high: float, unit: str) -> str:
    return "".join(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_y(tick, low, high):.1f}" y2="{_y(tick, low, high):.1f}" class="grid"/>'
        f'<text x="{_LEFT - 6}" y="{_y(tick, low, high) + 4:.1f}" text-anchor="end">{escape(number(tick) + unit)}</text>'
        for tick in ticks
    )


def _x_axis(labels: Sequence[str], *, centred: bool) -> str:
    every = max(1, math.ceil(len(labels) / 8))
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    parts = []
    for at in range(0, len(labels), every):
        x = _LEFT + (at + 0.5) * step if centred else _x(at, len(labels))
        anchor = "end" if at == len(labels) - 1 and not centred else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{escape(labels[at])}</text>')
    return "".join(parts)


def _legend(index: int, name: str, count: int) -> str:
    width = min(110.0, (WIDTH - _LEFT - _RIGHT) / max(1, count))
    x = _LEFT + index * width
    short = name if len(name) <= width / 8 else name[: int(width / 8) - 1] + "…"
    return (
        f'<rect x="{x:.1f}" y="8" width="10" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>'
        f'<text x="{x + 14:.1f}" y="17">{escape(short)}<title>{escape(name)}</title></text>'
    )


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    words = escape(title, quote=True)
    return (
        f'<figure><figcaption>{words}</figcaption><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{words}">'
        f"{''.join(parts)}</svg></figure>"
    )
