"""The demo's contact sheet: rows are versions, columns are prompts, and both say what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

LEAST_CELL_PX = 128  # smaller pictures are enlarged to about this, by a whole factor, without blurring
GAP_PX = 4
GROUP_GAP_PX = 18  # between one concept's columns and the next
MARGIN_PX = 12
TEXT_PX = 13
ROW_LABEL_PX = 150
PAPER, INK, FAINT, EMPTY = (250, 248, 244), (40, 38, 44), (120, 116, 124), (236, 233, 228)


@dataclass(frozen=True)
class SheetRow:
    """title: "version 1". note: what happened, smaller below. cells: one picture a column, None where there is none."""

    title: str
    note: str
    cells: Sequence[Image.Image | None]


@dataclass(frozen=True)
class SheetColumn:
    """heading: the prompt. group: what stands above the columns that belong together ("zigi (mug)", "generic")."""

    heading: str
    group: str


def draw_sheet(columns: Sequence[SheetColumn], rows: Sequence[SheetRow], tile_px: int) -> Image.Image:
    """The sheet as one RGB picture; every picture is a square of `tile_px` pixels before it is enlarged."""
    font, small = ImageFont.load_default(TEXT_PX), ImageFont.load_default(TEXT_PX - 1)
    cell_px = tile_px * max(1, LEAST_CELL_PX // tile_px)
    lefts = place_columns(columns, cell_px)
    headings = [wrap_words(column.heading, font, cell_px) for column in columns]
    line_px = TEXT_PX + 4
    top = MARGIN_PX + 2 * line_px + line_px * max(len(lines) for lines in headings)
    width = lefts[-1] + cell_px + MARGIN_PX
    height = top + len(rows) * (cell_px + GAP_PX) + MARGIN_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (column, left, lines) in enumerate(zip(columns, lefts, headings)):
        if place == 0 or column.group != columns[place - 1].group:
            pen.text((left, MARGIN_PX), column.group, INK, font, stroke_width=0.4)
        bottom = top - GAP_PX - line_px * len(lines)
        for number, line in enumerate(lines):
            pen.text((left, bottom + number * line_px), line, FAINT, small)
    for number, row in enumerate(rows):
        upper = top + number * (cell_px + GAP_PX)
        pen.text((MARGIN_PX, upper), row.title, INK, font, stroke_width=0.4)
        for place, line in enumerate(wrap_words(row.note, small, ROW_LABEL_PX - GAP_PX), start=1):
            pen.text((MARGIN_PX, upper + place * line_px), line, FAINT, small)
        for left, cell in zip(lefts, row.cells):
            if cell is None:
                pen.rectangle((left, upper, left + cell_px - 1, upper + cell_px - 1), fill=EMPTY)
            else:
                sheet.paste(cell.resize((cell_px, cell_px), Image.Resampling.NEAREST), (left, upper))
    return sheet


def place_columns(columns: Sequence[SheetColumn], cell_px: int) -> list[int]:
    """The left edge of each column, with a wider gap where a group ends."""
    lefts = [MARGIN_PX + ROW_LABEL_PX]
    for before, column in pairwise(columns):
        gap = GAP_PX if before.group == column.group else GROUP_GAP_PX
        lefts.append(lefts[-1] + cell_px + gap)
    return lefts


def wrap_words(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """Lines of whole words, none wider than `width_px` unless a single word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]
