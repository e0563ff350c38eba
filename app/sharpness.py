"""Whether a picture is sharp enough to be learned from."""

from PIL import Image, ImageFilter, ImageStat

# Variance of the Laplacian of a grey picture of that size. Photographs in focus have hundreds, smeared ones a few tens.
# Drawings have edges of their own and lie far above.
LOOKED_AT_PX = 256
BLURRED_BELOW = 30.0
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


def is_blurred(picture: Image.Image) -> bool:
    """Whether a picture has hardly an edge in it. Small ones are never called so: they have no fine detail to lose."""
    if min(picture.size) < LOOKED_AT_PX:
        return False
    grey = picture.convert("L")
    grey.thumbnail((LOOKED_AT_PX, LOOKED_AT_PX), Image.Resampling.BOX)
    edges = grey.filter(_LAPLACIAN).crop((1, 1, grey.width - 1, grey.height - 1))
    return ImageStat.Stat(edges).var[0] < BLURRED_BELOW
