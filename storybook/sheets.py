"""Contact sheets: many small pictures in rows, enlarged without blurring."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 2


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, zoom: int = 2) -> Image.Image:
    """Lay pictures (h, w, 3) uint8 of one size out in rows of `columns`, each enlarged `zoom` times."""
    height, width = pictures[0].shape[0] * zoom, pictures[0].shape[1] * zoom
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), (24, 22, 26))
    for index, picture in enumerate(pictures):
        tile = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(tile, ((index % columns) * (width + GAP), (index // columns) * (height + GAP)))
    return sheet
