"""How each thing and each background of the world is drawn. Shapes live in a unit box, y downwards; pictures are
drawn four times too large and reduced.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Point = tuple[float, float]

OVERSIZE = 4
DARK: Rgb = (38, 34, 40)
GREY: Rgb = (120, 122, 134)
WOOD: Rgb = (112, 74, 44)
BONE: Rgb = (240, 228, 204)
GLASS: Rgb = (182, 222, 246)
FLAME: Rgb = (255, 164, 40)
WHITE: Rgb = (250, 250, 250)


@dataclass(frozen=True)
class Paint:
    """What covers a body: a main colour, perhaps a second one in a pattern, and a colour for side parts."""

    main: Rgb
    second: Rgb | None
    pattern: str
    part: Rgb | None
    face: str | None
    emblem: str | None
    emblem_rgb: Rgb


def shade(rgb: Rgb, factor: float) -> Rgb:
    """A darker (below 1) or lighter (above 1) tone."""
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in rgb)
    return red, green, blue


def rim(rgb: Rgb) -> Rgb:
    """The thin line round a body: darker, but lighter round what is nearly black, so that it shows at night."""
    return (98, 96, 112) if sum(rgb) < 170 else shade(rgb, 0.68)


class Brush:
    """Draws in a unit box that lies somewhere on the canvas."""

    def __init__(self, canvas: Image.Image, left: float, top: float, side: float):
        self.canvas, self.left, self.top, self.side = canvas, left, top, side
        self.pen = ImageDraw.Draw(canvas)

    def at(self, points: Sequence[Point]) -> list[Point]:
        return [(self.left + x * self.side, self.top + y * self.side) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: Rgb | int) -> None:
        self.pen.polygon(self.at(points), fill=fill)

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: Rgb | int) -> None:
        self.pen.ellipse([*self.at([(x0, y0)])[0], *self.at([(x1, y1)])[0]], fill=fill)

    def dot(self, x: float, y: float, radius: float, fill: Rgb | int) -> None:
        self.ellipse(x - radius, y - radius, x + radius, y + radius, fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Rgb | int, round_by: float = 0.0) -> None:
        corners = [*self.at([(x0, y0)])[0], *self.at([(x1, y1)])[0]]
        self.pen.rounded_rectangle(corners, radius=round_by * self.side, fill=fill)

    def line(self, points: Sequence[Point], fill: Rgb | int, width: float) -> None:
        self.pen.line(self.at(points), fill=fill, width=max(1, round(width * self.side)), joint="curve")

    def arc(
        self, x0: float, y0: float, x1: float, y1: float, a: float, b: float, fill: Rgb | int, width: float
    ) -> None:
        corners = [*self.at([(x0, y0)])[0], *self.at([(x1, y1)])[0]]
        self.pen.arc(corners, a, b, fill=fill, width=max(1, round(width * self.side)))


Body = Callable[[Brush, Rgb | int], None]
Parts = Callable[[Brush, Paint], None]


@dataclass(frozen=True)
class Shape:
    """A noun: what lies behind its body, the body that takes colour and pattern, what lies on top, and where face and
    emblem go.
    """

    behind: Parts
    body: Body
    front: Parts
    face: tuple[float, float, float]  # centre x, y, width
    emblem: tuple[float, float, float]  # centre x, y, radius


def _part(paint: Paint, otherwise: Rgb) -> Rgb:
    return paint.part if paint.part is not None else otherwise


def _nothing(brush: Brush, paint: Paint) -> None:
    return None


# --- the nouns ------------------------------------------------------------------------------------------------------


def _cat_behind(brush: Brush, paint: Paint) -> None:
    brush.arc(0.58, 0.5, 0.98, 0.96, -95, 130, _part(paint, shade(paint.main, 0.88)), 0.1)


def _cat_body(brush: Brush, fill: Rgb | int) -> None:
    brush.ellipse(0.24, 0.44, 0.76, 0.99, fill)
    brush.ellipse(0.14, 0.12, 0.7, 0.58, fill)
    brush.polygon([(0.15, 0.3), (0.15, 0.0), (0.38, 0.16)], fill)
    brush.polygon([(0.69, 0.3), (0.69, 0.0), (0.46, 0.16)], fill)


def _cat_front(brush: Brush, paint: Paint) -> None:
    for x in (0.3, 0.54):
        brush.ellipse(x - 0.055, 0.27, x + 0.055, 0.41, WHITE)
        brush.ellipse(x - 0.03, 0.29, x + 0.03, 0.41, DARK)
    brush.polygon([(0.38, 0.43), (0.46, 0.43), (0.42, 0.49)], (236, 120, 140))


def _mug_behind(brush: Brush, paint: Paint) -> None:
    brush.arc(0.5, 0.32, 0.98, 0.78, -120, 120, _part(paint, paint.main), 0.1)


def _mug_body(brush: Brush, fill: Rgb | int) -> None:
    brush.polygon([(0.06, 0.18), (0.74, 0.18), (0.68, 0.92), (0.12, 0.92)], fill)
    brush.ellipse(0.12, 0.84, 0.68, 0.99, fill)
    brush.ellipse(0.06, 0.08, 0.74, 0.28, fill)


def _mug_front(brush: Brush, paint: Paint) -> None:
    brush.ellipse(0.06, 0.08, 0.74, 0.28, _part(paint, shade(paint.main, 0.8)))
    brush.ellipse(0.11, 0.11, 0.69, 0.25, DARK)


def _robot_behind(brush: Brush, paint: Paint) -> None:
    limb = _part(paint, GREY)
    brush.line([(0.5, 0.18), (0.5, 0.04)], limb, 0.05)
    brush.dot(0.5, 0.05, 0.055, limb)
    brush.box(0.08, 0.5, 0.22, 0.8, limb)
    brush.box(0.78, 0.5, 0.92, 0.8, limb)
    brush.box(0.3, 0.84, 0.44, 0.99, limb)
    brush.box(0.56, 0.84, 0.7, 0.99, limb)


def _robot_body(brush: Brush, fill: Rgb | int) -> None:
    brush.box(0.26, 0.13, 0.74, 0.46, fill)
    brush.box(0.22, 0.48, 0.78, 0.87, fill)


def _robot_front(brush: Brush, paint: Paint) -> None:
    for x in (0.39, 0.61):
        brush.dot(x, 0.27, 0.08, WHITE)
        brush.dot(x, 0.27, 0.04, DARK)
    brush.line([(0.38, 0.4), (0.62, 0.4)], DARK, 0.035)


def _house_behind(brush: Brush, paint: Paint) -> None:
    brush.box(0.68, 0.12, 0.8, 0.42, DARK)


def _house_body(brush: Brush, fill: Rgb | int) -> None:
    brush.box(0.14, 0.46, 0.86, 0.98, fill)


def _house_front(brush: Brush, paint: Paint) -> None:
    brush.polygon([(0.02, 0.5), (0.5, 0.06), (0.98, 0.5)], _part(paint, (92, 88, 96)))
    brush.box(0.42, 0.74, 0.58, 0.98, DARK)
    if paint.face is None and paint.emblem is None:
        brush.box(0.21, 0.56, 0.37, 0.7, GLASS)
        brush.box(0.63, 0.56, 0.79, 0.7, GLASS)


def _fish_behind(brush: Brush, paint: Paint) -> None:
    tail = _part(paint, shade(paint.main, 0.85))
    brush.polygon([(0.62, 0.52), (0.98, 0.24), (0.98, 0.8)], tail)
    brush.polygon([(0.28, 0.3), (0.42, 0.1), (0.6, 0.3)], tail)


def _fish_body(brush: Brush, fill: Rgb | int) -> None:
    brush.ellipse(0.02, 0.22, 0.8, 0.82, fill)


def _fish_front(brush: Brush, paint: Paint) -> None:
    if paint.face is None:
        brush.dot(0.2, 0.44, 0.085, WHITE)
        brush.dot(0.19, 0.44, 0.045, DARK)
        brush.arc(0.0, 0.5, 0.2, 0.68, 10, 80, DARK, 0.03)


def _car_behind(brush: Brush, paint: Paint) -> None:
    brush.dot(0.25, 0.8, 0.14, DARK)
    brush.dot(0.75, 0.8, 0.14, DARK)


def _car_body(brush: Brush, fill: Rgb | int) -> None:
    brush.box(0.01, 0.48, 0.99, 0.8, fill, 0.09)
    brush.polygon([(0.18, 0.52), (0.3, 0.2), (0.7, 0.2), (0.84, 0.52)], fill)


def _car_front(brush: Brush, paint: Paint) -> None:
    brush.polygon([(0.27, 0.47), (0.35, 0.27), (0.47, 0.27), (0.47, 0.47)], GLASS)
    brush.polygon([(0.53, 0.47), (0.53, 0.27), (0.66, 0.27), (0.75, 0.47)], GLASS)
    for x in (0.25, 0.75):
        brush.dot(x, 0.81, 0.125, DARK)
        brush.dot(x, 0.81, 0.055, _part(paint, (190, 190, 198)))


def _rocket_behind(brush: Brush, paint: Paint) -> None:
    fin = _part(paint, shade(paint.main, 0.7))
    brush.polygon([(0.34, 0.56), (0.1, 0.88), (0.36, 0.84)], fin)
    brush.polygon([(0.66, 0.56), (0.9, 0.88), (0.64, 0.84)], fin)
    brush.polygon([(0.38, 0.84), (0.5, 1.0), (0.62, 0.84)], FLAME)


def _rocket_body(brush: Brush, fill: Rgb | int) -> None:
    brush.polygon([(0.5, 0.0), (0.64, 0.16), (0.7, 0.36), (0.7, 0.86), (0.3, 0.86), (0.3, 0.36), (0.36, 0.16)], fill)


def _rocket_front(brush: Brush, paint: Paint) -> None:
    if paint.face is None:
        brush.dot(0.5, 0.32, 0.115, WHITE)
        brush.dot(0.5, 0.32, 0.08, GLASS)


def _mushroom_behind(brush: Brush, paint: Paint) -> None:
    brush.box(0.36, 0.46, 0.64, 0.99, _part(paint, BONE), 0.08)


def _mushroom_body(brush: Brush, fill: Rgb | int) -> None:
    cap = [(0.5 - 0.48 * math.cos(a), 0.58 - 0.54 * math.sin(a)) for a in np.linspace(0, math.pi, 24)]
    brush.polygon(cap, fill)


def _tree_behind(brush: Brush, paint: Paint) -> None:
    brush.polygon([(0.43, 0.5), (0.57, 0.5), (0.62, 0.99), (0.38, 0.99)], _part(paint, WOOD))


def _tree_body(brush: Brush, fill: Rgb | int) -> None:
    brush.dot(0.5, 0.25, 0.24, fill)
    brush.dot(0.27, 0.44, 0.23, fill)
    brush.dot(0.73, 0.44, 0.23, fill)
    brush.dot(0.5, 0.46, 0.23, fill)


def _boat_behind(brush: Brush, paint: Paint) -> None:
    brush.box(0.46, 0.04, 0.51, 0.7, WOOD)
    sail = _part(paint, (244, 240, 228))
    brush.polygon([(0.43, 0.08), (0.43, 0.6), (0.06, 0.6)], sail)
    brush.polygon([(0.54, 0.16), (0.54, 0.6), (0.9, 0.6)], shade(sail, 0.9))


def _boat_body(brush: Brush, fill: Rgb | int) -> None:
    brush.polygon([(0.0, 0.64), (1.0, 0.64), (0.82, 0.98), (0.18, 0.98)], fill)


def _star_body(brush: Brush, fill: Rgb | int) -> None:
    points = []
    for spike in range(10):
        radius = 0.52 if spike % 2 == 0 else 0.24
        angle = -math.pi / 2 + spike * math.pi / 5
        points.append((0.5 + radius * math.cos(angle), 0.54 + radius * math.sin(angle)))
    brush.polygon(points, fill)


def _bird_behind(brush: Brush, paint: Paint) -> None:
    for x in (0.44, 0.58):
        brush.line([(x, 0.78), (x, 0.98), (x - 0.08, 0.98)], (236, 150, 40), 0.045)
    brush.polygon([(0.76, 0.5), (1.0, 0.36), (0.96, 0.62)], _part(paint, shade(paint.main, 0.75)))
    brush.polygon([(0.14, 0.2), (0.0, 0.32), (0.16, 0.36)], (244, 160, 40))


def _bird_body(brush: Brush, fill: Rgb | int) -> None:
    brush.ellipse(0.2, 0.32, 0.86, 0.86, fill)
    brush.ellipse(0.1, 0.06, 0.54, 0.5, fill)


def _bird_front(brush: Brush, paint: Paint) -> None:
    brush.dot(0.26, 0.24, 0.07, WHITE)
    brush.dot(0.25, 0.24, 0.038, DARK)
    if paint.emblem is None and paint.face is None:
        brush.arc(0.4, 0.34, 0.8, 0.72, 20, 160, shade(paint.main, 0.62), 0.05)


SHAPES: dict[str, Shape] = {
    "cat": Shape(_cat_behind, _cat_body, _cat_front, (0.42, 0.36, 0.4), (0.5, 0.74, 0.15)),
    "mug": Shape(_mug_behind, _mug_body, _mug_front, (0.4, 0.52, 0.48), (0.4, 0.6, 0.19)),
    "robot": Shape(_robot_behind, _robot_body, _robot_front, (0.5, 0.28, 0.4), (0.5, 0.67, 0.15)),
    "house": Shape(_house_behind, _house_body, _house_front, (0.5, 0.62, 0.46), (0.5, 0.62, 0.13)),
    "fish": Shape(_fish_behind, _fish_body, _fish_front, (0.32, 0.48, 0.4), (0.52, 0.52, 0.16)),
    "car": Shape(_car_behind, _car_body, _car_front, (0.5, 0.6, 0.34), (0.5, 0.62, 0.12)),
    "rocket": Shape(_rocket_behind, _rocket_body, _rocket_front, (0.5, 0.36, 0.32), (0.5, 0.64, 0.13)),
    "mushroom": Shape(_mushroom_behind, _mushroom_body, _nothing, (0.5, 0.36, 0.46), (0.5, 0.34, 0.17)),
    "tree": Shape(_tree_behind, _tree_body, _nothing, (0.5, 0.38, 0.42), (0.5, 0.38, 0.17)),
    "boat": Shape(_boat_behind, _boat_body, _nothing, (0.5, 0.76, 0.4), (0.5, 0.8, 0.13)),
    "star": Shape(_nothing, _star_body, _nothing, (0.5, 0.5, 0.38), (0.5, 0.55, 0.16)),
    "bird": Shape(_bird_behind, _bird_body, _bird_front, (0.32, 0.27, 0.34), (0.54, 0.6, 0.16)),
}

# Nouns with eyes of their own: a face gives them only a mouth and cheeks.
_SEEING = {"cat", "robot", "bird"}


# --- patterns, faces, emblems ---------------------------------------------------------------------------------------


def cover(side: int, paint: Paint) -> Image.Image:
    """A square of `side` pixels with the paint's colours: coarse, and always in the same place on the body."""
    cloth = Image.new("RGB", (side, side), paint.main)
    second = paint.second
    if second is None or paint.pattern == "plain":
        return cloth
    brush = Brush(cloth, 0, 0, side)
    if paint.pattern == "striped":
        for i in range(4):
            brush.box(0.0625 + 0.25 * i, 0, 0.1875 + 0.25 * i, 1, second)
    elif paint.pattern == "dotted":
        for row in range(5):
            for column in range(5):
                brush.dot(0.11 + 0.22 * column - (0.11 if row % 2 else 0), 0.1 + 0.2 * row, 0.065, second)
    elif paint.pattern == "checked":
        for row in range(6):
            for column in range(row % 2, 6, 2):
                brush.box(column / 6, row / 6, (column + 1) / 6, (row + 1) / 6, second)
    elif paint.pattern == "zigzag":
        for i in range(3):
            y = 0.1 + 0.34 * i
            top = [(x / 6, y + (0.1 if x % 2 else 0)) for x in range(7)]
            brush.polygon(top + [(x, y + 0.15) for x, y in reversed(top)], second)
    elif paint.pattern == "patches":
        for x, y, radius in (
            (0.2, 0.12, 0.17),
            (0.72, 0.34, 0.14),
            (0.3, 0.6, 0.14),
            (0.7, 0.8, 0.18),
            (0.2, 0.92, 0.1),
        ):
            brush.dot(x, y, radius, second)
    elif paint.pattern == "halves":
        brush.box(0.5, 0, 1, 1, second)
    elif paint.pattern == "bands":
        brush.box(0, 0.52, 1, 1, second)
    elif paint.pattern == "rings":
        for radius, fill in ((0.5, second), (0.36, paint.main), (0.22, second), (0.1, paint.main)):
            brush.dot(0.46, 0.56, radius, fill)
    elif paint.pattern == "slanted":
        for i in range(-2, 4):
            x = 0.36 * i
            brush.polygon([(x, 0), (x + 0.18, 0), (x + 1.18, 1), (x + 1.0, 1)], second)
    return cloth


def _draw_face(brush: Brush, noun: str, kind: str, x: float, y: float, width: float) -> None:
    if noun not in _SEEING:
        for side in (-1, 1):
            eye = x + side * width * 0.24
            if kind == "sleepy":
                brush.arc(eye - 0.07, y - 0.1, eye + 0.07, y + 0.02, 20, 160, DARK, 0.035)
            else:
                brush.dot(eye, y - 0.04, 0.075, WHITE)
                brush.dot(eye, y - 0.035, 0.04, DARK)
    mouth = y + (0.16 if noun in _SEEING else 0.1)
    if kind == "grin":
        brush.pen.pieslice(
            [*brush.at([(x - 0.11, mouth - 0.1)])[0], *brush.at([(x + 0.11, mouth + 0.1)])[0]],
            0,
            180,
            fill=(150, 24, 40),
        )
    else:
        brush.arc(x - 0.1, mouth - 0.11, x + 0.1, mouth + 0.05, 20, 160, DARK, 0.035)


def _draw_emblem(brush: Brush, kind: str, x: float, y: float, r: float, fill: Rgb) -> None:
    if kind == "heart":
        brush.dot(x - r * 0.48, y - r * 0.3, r * 0.55, fill)
        brush.dot(x + r * 0.48, y - r * 0.3, r * 0.55, fill)
        brush.polygon([(x - r, y - r * 0.12), (x + r, y - r * 0.12), (x, y + r)], fill)
    elif kind == "bolt":
        outline = [(0.3, -1), (-0.7, 0.15), (-0.08, 0.15), (-0.35, 1), (0.7, -0.2), (0.06, -0.2)]
        brush.polygon([(x + r * a, y + r * b) for a, b in outline], fill)
    elif kind == "ring":
        brush.dot(x, y, r, fill)
        brush.dot(x, y, r * 0.45, DARK)
    elif kind == "diamond":
        brush.polygon([(x, y - r), (x + r * 0.8, y), (x, y + r), (x - r * 0.8, y)], fill)
    elif kind == "cross":
        brush.box(x - r * 0.34, y - r, x + r * 0.34, y + r, fill)
        brush.box(x - r, y - r * 0.34, x + r, y + r * 0.34, fill)
    elif kind == "disc":
        brush.dot(x, y, r * 0.85, fill)


def draw_thing(canvas: Image.Image, noun: str, paint: Paint, left: float, top: float, side: float) -> None:
    """Draw one thing into the square at (left, top) of `side` pixels of the oversized canvas."""
    shape = SHAPES[noun]
    brush = Brush(canvas, left, top, side)
    shape.behind(brush, paint)
    size = max(8, round(side))
    line = max(2, round(0.55 * OVERSIZE))
    mask = Image.new("L", (size + 2 * line, size + 2 * line), 0)
    outline = Image.new("L", mask.size, 0)
    shape.body(Brush(mask, line, line, size), 255)
    for dx, dy in ((-line, 0), (line, 0), (0, -line), (0, line)):
        shape.body(Brush(outline, line + dx * 0.7, line + dy * 0.7, size), 255)
    corner = (round(left) - line, round(top) - line)
    canvas.paste(Image.new("RGB", mask.size, rim(paint.main)), corner, outline)
    cloth = Image.new("RGB", mask.size, paint.main)
    cloth.paste(cover(size, paint), (line, line))
    canvas.paste(cloth, corner, mask)
    shape.front(brush, paint)
    if paint.emblem is not None:
        _draw_emblem(brush, paint.emblem, *shape.emblem, paint.emblem_rgb)
    if paint.face is not None:
        _draw_face(brush, noun, paint.face, *shape.face)


# --- backgrounds ----------------------------------------------------------------------------------------------------

_HORIZON = 0.62


def _sky(brush: Brush, top: Rgb, bottom: Rgb, until: float) -> None:
    bands = 12
    for i in range(bands):
        share = i / (bands - 1)
        tone = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        brush.box(0, until * i / bands, 1, until * (i + 1) / bands + 0.01, (tone[0], tone[1], tone[2]))


def _grass(brush: Brush, rng: np.random.Generator) -> None:
    _sky(brush, (118, 182, 240), (176, 218, 250), _HORIZON)
    brush.box(0, _HORIZON, 1, 1, (86, 160, 70))
    for x, y in ((0.08, 0.72), (0.3, 0.66), (0.9, 0.7), (0.16, 0.92), (0.7, 0.94), (0.94, 0.88)):
        brush.box(x, y, x + 0.02, y + 0.05, (58, 122, 50))


def _beach(brush: Brush, rng: np.random.Generator) -> None:
    _sky(brush, (120, 196, 250), (206, 232, 250), _HORIZON)
    brush.box(0, _HORIZON, 1, 1, (226, 196, 130))
    for x, y in ((0.08, 0.7), (0.3, 0.95), (0.88, 0.74), (0.62, 0.96), (0.95, 0.92)):
        brush.box(x, y, x + 0.025, y + 0.025, (186, 152, 90))


def _snow(brush: Brush, rng: np.random.Generator) -> None:
    _sky(brush, (176, 192, 216), (208, 216, 232), _HORIZON)
    brush.box(0, _HORIZON, 1, 1, (236, 240, 250))
    for x, y in (
        (0.06, 0.12),
        (0.2, 0.34),
        (0.36, 0.08),
        (0.6, 0.14),
        (0.8, 0.3),
        (0.93, 0.1),
        (0.94, 0.48),
        (0.05, 0.54),
    ):
        brush.box(x, y, x + 0.028, y + 0.028, WHITE)


def _night(brush: Brush, rng: np.random.Generator) -> None:
    _sky(brush, (14, 12, 48), (30, 24, 66), _HORIZON)
    brush.box(0, _HORIZON, 1, 1, (34, 38, 46))
    moon = 0.14 if rng.random() < 0.5 else 0.86
    brush.dot(moon, 0.13, 0.075, (250, 240, 190))
    for x, y in ((0.3, 0.1), (0.5, 0.05), (0.7, 0.12), (0.06, 0.36), (0.94, 0.38), (0.4, 0.26), (0.62, 0.3)):
        brush.box(x, y, x + 0.018, y + 0.018, (236, 236, 220))


def _sea(brush: Brush, rng: np.random.Generator) -> None:
    _sky(brush, (244, 164, 110), (254, 214, 160), 0.56)
    brush.box(0, 0.56, 1, 1, (32, 96, 156))
    for x, y in ((0.04, 0.68), (0.84, 0.66), (0.1, 0.9), (0.78, 0.92), (0.44, 0.97)):
        brush.box(x, y, x + 0.12, y + 0.018, (150, 196, 226))


def _bricks(brush: Brush, rng: np.random.Generator) -> None:
    brush.box(0, 0, 1, 1, (206, 178, 156))
    for row in range(8):
        shift = 0.125 if row % 2 else 0.0
        for column in range(-1, 5):
            x, tone = column * 0.25 + shift, 1.0 if (row + column) % 2 else 0.93
            brush.box(x + 0.012, row * 0.125 + 0.012, x + 0.238, row * 0.125 + 0.113, shade((176, 78, 58), tone))


def _planks(brush: Brush, rng: np.random.Generator) -> None:
    for column in range(5):
        brush.box(column * 0.2, 0, column * 0.2 + 0.2, 1, shade((196, 146, 92), (1.0, 0.92, 1.04, 0.95, 0.99)[column]))
        brush.box(column * 0.2 - 0.01, 0, column * 0.2 + 0.01, 1, (118, 80, 46))


def _plain_grey(brush: Brush, rng: np.random.Generator) -> None:
    brush.box(0, 0, 1, 1, (166, 168, 172))


BACKDROPS: dict[str, Callable[[Brush, np.random.Generator], None]] = {
    "on the grass": _grass,
    "on the beach": _beach,
    "in the snow": _snow,
    "at night": _night,
    "by the sea": _sea,
    "in front of a brick wall": _bricks,
    "in front of a wooden wall": _planks,
    "on a grey background": _plain_grey,
}
