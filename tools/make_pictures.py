"""Draws the pictures of the postcard project: four places in layers of colour, always the same ones."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

WIDTH, HEIGHT = 1480, 1050

#: For each place: its sky from top to horizon, its layers from far to near, and what stands in it.
PLACES = {
    "fjord": (("#20405f", "#e9b48a"), ("#7f93a8", "#56718c", "#33526e", "#1b3650"), (980, 505, 62, "#fff1d6")),
    "alps": (("#5b9bd0", "#e9f3f8"), ("#b7cad9", "#8fabc0", "#4c7a66", "#2f5a45"), (1130, 200, 54, "#fffbe8")),
    "dunes": (("#7fb7c9", "#fbe9cf"), ("#5e9cae", "#e7cd9b", "#d9b877", "#c29a58"), (320, 330, 58, "#fff6dd")),
    "harbour": (("#2b1b4d", "#f08a5d"), ("#6b3f69", "#4a2c5e", "#2e1f4b", "#1a1233"), (740, 560, 92, "#ffd9a0")),
}


def ridge(dice: random.Random, base: float, height: float, steps: int) -> Sequence[tuple[float, float]]:
    """A line of hills around ``base``: the sum of a few waves, rougher the shorter they are."""
    waves = [(dice.uniform(0.6, 1.4) * n, dice.uniform(0, 6.28), height / (1 + n)) for n in range(1, 7)]
    points = []
    for step in range(steps + 1):
        x = step / steps
        y = base - sum(size * math.sin(6.28 * frequency * x + phase) for frequency, phase, size in waves)
        points.append((x * WIDTH, y))
    return points


def peaks(dice: random.Random, base: float, height: float, count: int) -> Sequence[tuple[float, float]]:
    """A line of mountains: tops and notches in turn."""
    points = [(0.0, base)]
    for n in range(count):
        middle = (n + dice.uniform(0.35, 0.65)) * WIDTH / count
        points.append((middle, base - height * dice.uniform(0.6, 1.0)))
        points.append(((n + 1) * WIDTH / count, base - height * dice.uniform(0.05, 0.3)))
    return points


def area(points: Sequence[tuple[float, float]], colour: str, bottom: float = HEIGHT) -> str:
    """What lies below a line."""
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    return f'<polygon fill="{colour}" points="0,{bottom:.0f} {path} {WIDTH},{bottom:.0f}"/>'


def snow(points: Sequence[tuple[float, float]]) -> Iterator[str]:
    """White on the tops of mountains."""
    for before, top, after in zip(points[0::2], points[1::2], points[2::2], strict=False):
        left = [top[0] + (before[0] - top[0]) * 0.36, top[1] + (before[1] - top[1]) * 0.36]
        right = [top[0] + (after[0] - top[0]) * 0.36, top[1] + (after[1] - top[1]) * 0.36]
        low = max(left[1], right[1])
        middle = f"{(left[0] * 2 + right[0]) / 3:.0f},{low - 12:.0f} {(left[0] + right[0]) / 2:.0f},{low + 26:.0f}"
        tooth = f"{(left[0] + right[0] * 2) / 3:.0f},{low - 6:.0f}"
        corners = f"{left[0]:.0f},{left[1]:.0f} {top[0]:.0f},{top[1]:.0f} {right[0]:.0f},{right[1]:.0f}"
        yield f'<polygon fill="#fdfdfb" points="{corners} {tooth} {middle}"/>'


def water(dice: random.Random, top: float, colours: tuple[str, str], light: tuple[float, str]) -> Iterator[str]:
    """A sheet of water with the light of the sun on it."""
    yield f'<linearGradient id="water" x2="0" y2="1"><stop stop-color="{colours[0]}"/>'
    yield f'<stop offset="1" stop-color="{colours[1]}"/></linearGradient>'
    yield f'<rect y="{top:.0f}" width="{WIDTH}" height="{HEIGHT - top:.0f}" fill="url(#water)"/>'
    for n in range(26):
        y = top + 8 + (HEIGHT - top) * (n / 26) ** 1.4
        width = (30 + 5 * n) * dice.uniform(0.5, 1.3)
        x = light[0] - width / 2 + dice.uniform(-12, 12) * (1 + n / 4)
        yield (
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{2 + n / 5:.0f}" rx="3" fill="{light[1]}"'
            f' opacity="{0.75 - n * 0.022:.2f}"/>'
        )


def boat(x: float, y: float, size: float, colour: str, sail: str) -> str:
    """A sailing boat on the water line ``y``."""
    return (
        f'<path fill="{colour}" d="M{x - size},{y} h{2 * size} l{-size * 0.35},{size * 0.38} h{-size * 1.3} z"/>'
        f'<path fill="{sail}" d="M{x},{y - size * 0.12} V{y - size * 2.3} L{x + size * 0.9},{y - size * 0.12} z"/>'
        f'<path fill="{sail}" opacity=".75" d="M{x - size * 0.1},{y - size * 0.12} V{y - size * 1.9}'
        f' L{x - size * 0.75},{y - size * 0.12} z"/>'
    )


def lighthouse(x: float, y: float) -> str:
    """A lighthouse with its foot at ``y``."""
    bands = "".join(
        f'<rect x="{x - 34 + n * 2.4:.1f}" y="{y - 62 - n * 62}" width="{68 - n * 4.8:.1f}" height="62"'
        f' fill="{"#c8402f" if n % 2 else "#fffaf0"}"/>'
        for n in range(6)
    )
    top = y - 372
    return (
        f'{bands}<rect x="{x - 30}" y="{top - 8}" width="60" height="10" fill="#333c46"/>'
        f'<rect x="{x - 17}" y="{top - 46}" width="34" height="38" fill="#ffe9a8"/>'
        f'<path d="M{x - 24},{top - 46} h48 l-24,-34 z" fill="#c8402f"/>'
    )


def firs(dice: random.Random, base: float, colour: str, count: int) -> Iterator[str]:
    """A row of firs along the lower edge."""
    for n in range(count):
        x = (n + dice.uniform(0.1, 0.9)) * WIDTH / count
        tall = dice.uniform(90, 190)
        foot = base + dice.uniform(0, 60)
        for tier in range(3):
            wide = tall * (0.17 + 0.07 * tier)
            y = foot - tall + tier * tall * 0.24
            yield f'<path fill="{colour}" d="M{x:.0f},{y:.0f} l{wide:.0f},{tall * 0.46:.0f} h{-2 * wide:.0f} z"/>'


def scene(name: str, dice: random.Random) -> Iterator[str]:
    """The layers of a place, from far to near."""
    (high, low), layers, (sun_x, sun_y, sun, light) = PLACES[name]
    yield f'<linearGradient id="sky" x2="0" y2="1"><stop stop-color="{high}"/>'
    yield f'<stop offset=".7" stop-color="{low}"/></linearGradient>'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#sky)"/>'
    yield f'<circle cx="{sun_x}" cy="{sun_y}" r="{sun * 2.1:.0f}" fill="{light}" opacity=".22"/>'
    yield f'<circle cx="{sun_x}" cy="{sun_y}" r="{sun}" fill="{light}"/>'
    if name == "fjord":
        for n, colour in enumerate(layers[:3]):
            yield area(peaks(dice, 660, 330 - 60 * n, 4 + n), colour, 680)
        yield from water(dice, 672, ("#8d8f9c", "#1b3650"), (sun_x, "#ffe7c4"))
        yield boat(470, 800, 46, "#5c2f24", "#fff6e6")
        yield from firs(dice, 1040, layers[3], 15)
    elif name == "alps":
        far = peaks(dice, 640, 330, 5)
        near = peaks(dice, 720, 400, 3)
        yield area(far, layers[0])
        yield from snow(far)
        yield area(near, layers[1])
        yield from snow(near)
        yield area(ridge(dice, 760, 60, 60), layers[2])
        yield area(ridge(dice, 900, 50, 60), layers[3])
        yield from firs(dice, 1010, "#1d4433", 19)
    elif name == "dunes":
        yield from water(dice, 560, ("#8cc0cc", "#4f93a6"), (sun_x, "#fff6dd"))
        yield boat(620, 612, 30, "#3c4a57", "#ffffff")
        yield boat(780, 592, 20, "#3c4a57", "#ffffff")
        yield area(ridge(dice, 790, 46, 60), layers[1])
        yield lighthouse(1150, 800)
        yield area(ridge(dice, 880, 50, 60), layers[2])
        yield area(ridge(dice, 980, 40, 60), layers[3])
    else:
        yield area(ridge(dice, 600, 70, 60), layers[0])
        yield from water(dice, 640, ("#d9775a", "#2b1b4d"), (sun_x, "#ffd9a0"))
        for x, y, size in ((330, 760, 58), (1180, 740, 44), (1010, 690, 24), (520, 700, 26)):
            yield boat(x, y, size, layers[3], "#f7d9c4")


def main(folder: str) -> None:
    """Draw all of them into ``folder``."""
    for number, name in enumerate(PLACES):
        body = "\n".join(scene(name, random.Random(1894 + number)))
        text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">\n{body}\n</svg>\n'
        Path(folder, f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
