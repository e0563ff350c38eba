"""Which entries of a matrix are selected, in few bytes: sorted positions in Elias-Fano code, or one bit an entry.

Source: Elias, "Efficient storage and retrieval by content and address of static files", J. ACM 21(2), 1974; Fano, "On
the number of bits required to implement an associative memory", MIT Project MAC Memo 61, 1971. For n positions below u,
with l = floor(log2(u / n)),

    the l low bits of each are written one after the other: n * l bits;
    what is left of them ascends from 0 to (u - 1) >> l and is written in a string of n + ((u - 1) >> l) bits, of which
    the i-th number h, counted from 0, sets bit h + i.

Where n is far below u that is at most 0.56 bits for each position above the least there is. No position takes no byte.

The shorter of the two codes is taken, the mask where they are equal. u and n alone decide, so the same positions give
the same bytes on every machine, and whoever knows u and n knows the length of the code before reading any of it.

Bits fill bytes from the highest down; each string of bits begins with a byte of its own, and what a last byte has to
spare is 0.
"""

import numpy as np
from numpy.typing import NDArray

MOST_ENTRIES = 2**31
"""Of one matrix: a thousand times what the widest projection of text has that we know of."""


def encode_positions(where: NDArray[np.int64], entries: int) -> NDArray[np.uint8]:
    """The code of `where` (n,) int64, strictly ascending, each from 0 to below `entries`: (bytes,) uint8.

    Raises ValueError for positions that are not so, and for more than MOST_ENTRIES entries.
    """
    _check_counts(entries, len(where))
    _check_positions(where, entries)
    if _is_mask(entries, len(where)):
        mask = np.zeros(entries, dtype=bool)
        mask[where] = True
        return np.packbits(mask)
    low_bits = count_low_bits(entries, len(where))
    unary = np.zeros(_count_unary_bits(entries, len(where)), dtype=bool)
    unary[(where >> low_bits) + np.arange(len(where))] = True
    return np.concatenate([_pack_low(where, low_bits), np.packbits(unary)])


def decode_positions(code: NDArray[np.uint8], entries: int, count: int) -> NDArray[np.int64]:
    """The `count` positions (count,) int64, ascending, that `encode_positions` wrote as `code` (bytes,) uint8.

    Takes memory in proportion to `code` and `count` alone. Raises ValueError for what it would not have written.
    """
    _check_counts(entries, count)
    if len(code) != code_length(entries, count):
        raise ValueError(f"{count} positions among {entries} entries do not take {len(code)} bytes")
    if _is_mask(entries, count):
        return decode_mask(code, entries, count)
    low_bits = count_low_bits(entries, count)
    low_code, unary_code = np.split(code, [_count_bytes(count * low_bits)])
    _check_spare_bits(low_code, count * low_bits)
    ones = decode_mask(unary_code, _count_unary_bits(entries, count), count)
    where = ((ones - np.arange(count)) << low_bits) | _unpack_low(low_code, low_bits, count)
    _check_positions(where, entries)
    return where


def decode_mask(mask: NDArray[np.uint8], entries: int, count: int) -> NDArray[np.int64]:
    """The positions (count,) int64, ascending, of the bits that are set in a `mask` (bytes,) uint8 of so many entries.

    Takes memory in proportion to `mask` and `count` alone. Raises ValueError unless there are as many as `count` says.
    """
    _check_counts(entries, count)
    if len(mask) != _count_bytes(entries):
        raise ValueError(f"{entries} bits do not take {len(mask)} bytes")
    _check_spare_bits(mask, entries)
    if int(np.bitwise_count(mask).sum(dtype=np.int64)) != count:
        raise ValueError(f"there are not {count} positions")
    # Only bytes with a bit in them are unpacked: there are no more of those than positions, however long the mask is.
    filled = mask.nonzero()[0]
    bits = np.unpackbits(mask[filled]).view(bool).nonzero()[0]
    return (filled[bits >> 3] << 3) | (bits & 7)


def code_length(entries: int, count: int) -> int:
    """How many bytes `encode_positions` takes for `count` positions among `entries`."""
    return min(_count_bytes(entries), _elias_fano_bytes(entries, count))


def count_low_bits(entries: int, count: int) -> int:
    """l of Elias-Fano code for `count` positions among `entries`: floor(log2(entries / count)), in whole numbers."""
    return (entries // count).bit_length() - 1 if count else 0


def _elias_fano_bytes(entries: int, count: int) -> int:
    if not count:
        return 0
    return _count_bytes(count * count_low_bits(entries, count)) + _count_bytes(_count_unary_bits(entries, count))


def _is_mask(entries: int, count: int) -> bool:
    return _count_bytes(entries) <= _elias_fano_bytes(entries, count)


def _count_unary_bits(entries: int, count: int) -> int:
    return count + ((entries - 1) >> count_low_bits(entries, count)) if count else 0


def _count_bytes(bits: int) -> int:
    return -(-bits // 8)


# --- low bits ---------------------------------------------------------------------------------------------------------


def _pack_low(where: NDArray[np.int64], low_bits: int) -> NDArray[np.uint8]:
    """The `low_bits` low bits of each of `where` (n,), one after the other: (bytes,) uint8."""
    width = _word_bytes(low_bits)
    words = where.astype(f">u{width}").view(np.uint8).reshape(-1, width)
    return np.packbits(np.unpackbits(words, axis=1)[:, 8 * width - low_bits :])


def _unpack_low(code: NDArray[np.uint8], low_bits: int, count: int) -> NDArray[np.int64]:
    """(count,) int64: what `_pack_low` packed."""
    width = _word_bytes(low_bits)
    bits = np.zeros((count, 8 * width), dtype=np.uint8)
    bits[:, 8 * width - low_bits :] = np.unpackbits(code, count=count * low_bits).reshape(count, low_bits)
    return np.packbits(bits).view(f">u{width}").astype(np.int64)


def _word_bytes(bits: int) -> int:
    """Of the smallest whole number that numpy has for so many bits, at most 32."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_counts(entries: int, count: int) -> None:
    if not 0 <= count <= entries <= MOST_ENTRIES:
        raise ValueError(f"there cannot be {count} positions among {entries} entries")


def _check_positions(where: NDArray[np.int64], entries: int) -> None:
    if len(where) and (where[0] < 0 or where[-1] >= entries or not (where[1:] > where[:-1]).all()):
        raise ValueError(f"positions do not ascend from 0 to below {entries}")


def _check_spare_bits(code: NDArray[np.uint8], bits: int) -> None:
    if bits % 8 and code[-1] & (0xFF >> bits % 8):
        raise ValueError("there are bits behind the last one")
