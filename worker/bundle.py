"""Several pieces of bytes in one, for a checkpoint that is one file: each with its length before it."""

from collections.abc import Sequence

from cns.errors import CnsError

LENGTH_BYTES = 8


class DamagedBundle(CnsError):
    """The bytes are no bundle, or not a whole one."""


def pack(parts: Sequence[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(LENGTH_BYTES, "little") + part for part in parts)


def unpack(data: bytes) -> list[bytes]:
    """What `pack` put together; DamagedBundle for anything else."""
    parts = []
    while data:
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        if end > len(data):
            raise DamagedBundle("This checkpoint is cut short.")
        parts.append(data[LENGTH_BYTES:end])
        data = data[end:]
    return parts
