"""All pictures of one stage, and the few of them that go on a contact sheet."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from benchmarks.continual.asking import Asking
from benchmarks.continual.method import OnStep, Painter, no_steps
from benchmarks.continual.streams import Composition, Stream
from cns.denoise import GenerationRequest, to_pictures

SHEET_COMPOSITIONS, SHEET_GENERIC = 4, 2
QUALITY = 85
"""Of the WebP in which a sheet's tiles are kept: no difference can be seen at this size."""


@dataclass(frozen=True)
class Album:
    """Pictures (3, height, width) in 0..1: of generic prompts, of each concept by name, of each composition."""

    generic: Sequence[Tensor]
    concepts: Mapping[str, Sequence[Tensor]]
    compositions: Mapping[Composition, Sequence[Tensor]]


def paint_album(
    painter: Painter, stream: Stream, asking: Asking, names: Sequence[str], on_step: OnStep = no_steps
) -> Album:
    """What is asked of a model that has learned the concepts `names`, by one call, so that batches are full."""
    known = set(names)
    concepts = [one for one in stream.concepts if one.name in known]
    compositions = [one for one in stream.compositions if known.issuperset(one.names)]
    wanted: list[list[GenerationRequest]] = [
        asking.of_nobody(stream.generic_prompts),
        *(asking.of_concept(one, one.subject) for one in concepts),
        *(asking.of_composition(one, stream) for one in compositions),
    ]
    painted = iter(painter.paint([request for requests in wanted for request in requests], on_step=on_step))
    generic, *rest = [[next(painted) for _ in requests] for requests in wanted]
    of_concepts, of_compositions = rest[: len(concepts)], rest[len(concepts) :]
    return Album(
        generic,
        dict(zip((one.name for one in concepts), of_concepts, strict=True)),
        dict(zip(compositions, of_compositions, strict=True)),
    )


def sheet_headings(stream: Stream) -> list[str]:
    """What stands above the columns of a contact sheet of a whole stream."""
    subjects = {one.name: f"<{one.name}>" for one in stream.concepts}
    return [
        *(one.prompts[1].about(one.subject) for one in stream.concepts),
        *(one.about(subjects) for one in stream.compositions[:SHEET_COMPOSITIONS]),
        *stream.generic_prompts[:SHEET_GENERIC],
    ]


def sheet_tiles(stream: Stream, asking: Asking, album: Album) -> list[Tensor]:
    """One picture for each heading: of every concept in a new place, of some compositions, of some generic prompts."""
    return [
        *(album.concepts[one.name][asking.concept_seeds] for one in stream.concepts),
        *(album.compositions[one][0] for one in stream.compositions[:SHEET_COMPOSITIONS]),
        *album.generic[:SHEET_GENERIC],
    ]


def pack_tiles(tiles: Sequence[Tensor] | Sequence[Image.Image]) -> str:
    """Pictures of one size side by side, as the text of a WebP file in base 64, so that JSON can hold it."""
    pictures = [tile if isinstance(tile, Image.Image) else to_pictures([tile])[0] for tile in tiles]
    width, height = pictures[0].size
    strip = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        strip.paste(picture, (place * width, 0))
    data = io.BytesIO()
    strip.save(data, "WEBP", quality=QUALITY, method=6)
    return base64.b64encode(data.getvalue()).decode("ascii")


def unpack_tiles(packed: str, count: int) -> list[Image.Image]:
    """The `count` pictures that `pack_tiles` put side by side."""
    with Image.open(io.BytesIO(base64.b64decode(packed)), formats=("WEBP",)) as opened:
        strip = opened.convert("RGB")
    width = strip.width // count
    return [strip.crop((place * width, 0, (place + 1) * width, strip.height)) for place in range(count)]
