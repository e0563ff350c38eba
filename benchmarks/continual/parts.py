"""A picture of several things, cut into the part of each."""

from PIL import Image

MIDDLE = 0.6
"""Where things stand, from the top: a little below the middle."""


def cut_parts(picture: Image.Image, count: int) -> list[Image.Image]:
    """`count` squares side by side from left to right, as wide as a `count`-th of the picture, enlarged to its width.

    Likeness is judged on such parts both of real and of made pictures, so how they are cut matters to none.
    """
    width, height = picture.size
    side = min(width // count, height)
    top = min(height - side, max(0, round(MIDDLE * height - side / 2)))
    parts = []
    for place in range(count):
        left = round((place + 0.5) * width / count - side / 2)
        cut = picture.crop((left, top, left + side, top + side))
        parts.append(cut.resize((width, width), Image.Resampling.BICUBIC))
    return parts
