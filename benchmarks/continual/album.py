"""All pictures of one stage, and the few of them that go on a contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from benchmarks.continual.asking import Asking
from benchmarks.continual.method import OnStep, Painter, no_steps
from benchmarks.continual.painted import Painted
from benchmarks.continual.streams import Composition, Stream
from cns.denoise import GenerationRequest, to_pictures

SHEET_COMPOSITIONS, SHEET_GENERIC = 4, 2
TILE_PX, COLOURS = 64, 256


@dataclass(frozen=True)
class Album:
    """Pictures (3, height, width) in 0..1: of generic prompts, of each concept by name, of each composition."""

    generic: Sequence[Tensor]
    concepts: Mapping[str, Sequence[Tensor]]
    compositions: Mapping[Composition, Sequence[Tensor]]


def paint_album(
    painter: Painter,
    stream: Stream,
    asking: Asking,
    names: Sequence[str],
    on_step: OnStep = no_steps,
    painted: Painted | None = None,
) -> Album:
    """What is asked of a model that has learned the concepts `names`, by one call, so that batches are full.

    painted: the pictures of its stage before, None where there are none to be found again.
    """
    known = set(names)
    concepts = [one for one in stream.concepts if one.name in known]
    compositions = [one for one in stream.compositions if known.issuperset(one.names)]
    wanted: list[list[GenerationRequest]] = [
        asking.of_nobody(stream.generic_prompts),
        *(asking.of_concept(one, one.subject) for one in concepts),
        *(asking.of_composition(one, stream) for one in compositions),
    ]
    asked = [request for requests in wanted for request in requests]
    made = painter.paint(asked, on_step=on_step) if painted is None else painted.paint(painter, asked, on_step)
    pictures = iter(made)
    generic, *rest = [[next(pictures) for _ in requests] for requests in wanted]
    of_concepts, of_compositions = rest[: len(concepts)], rest[len(concepts) :]
    return Album(
        generic,
        dict(zip((one.name for one in concepts), of_concepts, strict=True)),
        dict(zip(compositions, of_compositions, strict=True)),
    )


def sheet_headings(stream: Stream) -> list[str]:
    """What stands above the columns of a contact sheet of a whole stream."""
    subjects = {one.name: one.subject for one in stream.concepts}
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


def join_tiles(tiles: Sequence[Tensor] | Sequence[Image.Image]) -> Image.Image:
    """Pictures side by side, each `TILE_PX` wide and high, in the colours that they need most: small enough to keep."""
    pictures = [tile if isinstance(tile, Image.Image) else to_pictures([tile])[0] for tile in tiles]
    strip = Image.new("RGB", (TILE_PX * len(pictures), TILE_PX))
    for place, picture in enumerate(pictures):
        fitting = picture if picture.size == (TILE_PX, TILE_PX) else picture.resize((TILE_PX, TILE_PX))
        strip.paste(fitting, (place * TILE_PX, 0))
    return strip.quantize(COLOURS)
