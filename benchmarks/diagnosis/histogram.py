"""Two distributions over one axis as plain SVG: every learning a dot, and the thresholds as lines across."""

from collections.abc import Sequence
from html import escape

WIDTH_PX, HEIGHT_PX, MARGIN_PX, ROW_PX = 640, 150, 16, 34
WELL, ILL = "#0072b2", "#d55e00"  # two of Okabe and Ito's colours, told apart by colour-blind readers
BINS = 40
DOT_PX = 3.2


def draw_histogram(
    title: str, well: Sequence[float], ill: Sequence[float], warn: float, bad: float, *, width_px: int = WIDTH_PX
) -> str:
    """well above the axis, ill below it; equal numbers give equal text. ValueError without a value."""
    values = [*well, *ill, warn, bad]
    if not well and not ill:
        raise ValueError("A histogram needs values.")
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    low, span = low - 0.04 * span, 1.08 * span
    middle = HEIGHT_PX / 2 + 6

    def across(value: float) -> float:
        return MARGIN_PX + (value - low) / span * (width_px - 2 * MARGIN_PX)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {HEIGHT_PX}" '
        'font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width_px}" height="{HEIGHT_PX}" fill="#ffffff"/>',
        f'<text x="{MARGIN_PX}" y="16" font-size="13" fill="#222222">{escape(title)}</text>',
        f'<line x1="{MARGIN_PX}" x2="{width_px - MARGIN_PX}" y1="{middle}" y2="{middle}" stroke="#666666"/>',
    ]
    for name, value, dash in (("warn", warn, "4 3"), ("bad", bad, "none")):
        x = f"{across(value):.1f}"
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="30" y2="{HEIGHT_PX - 20}" stroke="#222222" stroke-dasharray="{dash}"/>'
            f'<text x="{x}" y="{HEIGHT_PX - 6}" text-anchor="middle" fill="#222222">{name} {value:g}</text>'
        )
    for group, colour, side in ((well, WELL, -1), (ill, ILL, 1)):
        parts += _dots([across(value) for value in group], colour, middle, side, width_px)
    parts.append(
        f'<text x="{width_px - MARGIN_PX}" y="16" text-anchor="end"><tspan fill="{WELL}">made not to have it</tspan>'
        f'<tspan fill="{ILL}" dx="12">made to have it</tspan></text></svg>'
    )
    return "\n".join(parts) + "\n"


def _dots(places: Sequence[float], colour: str, middle: float, side: int, width_px: int) -> list[str]:
    """Dots piled up from the axis, those of one bin over each other; nearer together where a pile would be too high."""
    piles: dict[int, list[float]] = {}
    for x in sorted(places):
        piles.setdefault(int((x - MARGIN_PX) / (width_px - 2 * MARGIN_PX) * BINS), []).append(x)
    highest = max((len(pile) for pile in piles.values()), default=1)
    apart = min(2 * DOT_PX + 0.6, ROW_PX / highest)
    return [
        f'<circle cx="{x:.1f}" cy="{middle + side * (DOT_PX + 1 + apart * place):.1f}" r="{DOT_PX}" '
        f'fill="{colour}" fill-opacity="0.75"/>'
        for pile in piles.values()
        for place, x in enumerate(pile)
    ]
