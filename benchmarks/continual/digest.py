"""What a stream is, in one number: part of the question that a cell answers."""

import hashlib

from PIL import Image

from benchmarks.continual.streams import Stream
from benchmarks.kept import digest_of


def stream_digest(stream: Stream) -> str:
    """SHA-256 (64 hex digits) of everything in a stream, its pictures included; not of its name."""
    facts = [
        [one.name, one.class_noun, one.lesson.captions, [[p.kind, p.template] for p in one.prompts], one.twin]
        + [_picture_digest(picture) for picture in (*one.lesson.pictures, *one.held_out, *one.beside)]
        for one in stream.concepts
    ]
    compositions = [[one.names, one.template] for one in stream.compositions]
    return digest_of({"concepts": facts, "generic": stream.generic_prompts, "compositions": compositions})


def _picture_digest(picture: Image.Image) -> str:
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
