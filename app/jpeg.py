"""How a JPEG is put together, told from its markers without decoding it."""

import re
from collections.abc import Iterator

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # none that stands in a scan, and none without a length but EOI
_EOI, _SOS = 0xD9, 0xDA


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether more than `most` scans stand in `data`; False for what is no JPEG.

    A progressive JPEG refines the whole picture with each scan. A scan that changes nothing is a dozen bytes long, and
    takes as much work as any other.
    """
    scans = 0
    for marker in _markers(data):
        scans += marker == _SOS
        if scans > most:
            return True
    return False


def _markers(data: bytes) -> Iterator[int]:
    """The kinds of all segments up to the end of the picture, as a decoder comes upon them. What a segment holds, such
    as a small picture inside of the camera's notes, is passed over.
    """
    if not data.startswith(b"\xff\xd8"):
        return
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        yield data[at - 1]
        if data[at - 1] == _EOI:
            return
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
