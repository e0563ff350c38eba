"""Positions in few bytes: what is written is read again, is as short as it may be, and nothing else is ever read."""

import math
import tracemalloc

import numpy as np
import pytest

from cns.positions import MOST_ENTRIES, code_length, count_low_bits, decode_mask, decode_positions, encode_positions

WIDTHS = (1, 2, 7, 8, 9, 64, 1000, 4096, 70_001)


def _drawn(entries: int, count: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(entries, count, replace=False)).astype(np.int64)


def _entropy_bits(entries: int, count: int) -> float:
    share = count / entries
    return -entries * sum(part * math.log2(part) for part in (share, 1 - share) if part)


@pytest.mark.parametrize("entries", WIDTHS)
@pytest.mark.parametrize("share", [0.0, 0.0003, 0.02, 0.058, 0.2, 0.5, 0.9, 1.0])
def test_positions_survive_their_code_however_dense_they_lie(entries: int, share: float) -> None:
    for seed in range(3):
        where = _drawn(entries, round(share * entries), seed)
        code = encode_positions(where, entries)
        assert code.dtype == np.uint8
        assert len(code) == code_length(entries, len(where))
        again = decode_positions(code, entries, len(where))
        assert again.dtype == np.int64
        assert np.array_equal(again, where)


@pytest.mark.parametrize("entries", WIDTHS)
def test_a_single_position_survives_wherever_it_is(entries: int) -> None:
    for place in {0, entries // 2, entries - 1}:
        where = np.array([place])
        assert np.array_equal(decode_positions(encode_positions(where, entries), entries, 1), where)


@pytest.mark.parametrize("entries", [256, 300, 65_537, MOST_ENTRIES])
def test_low_bits_of_every_width_survive(entries: int) -> None:
    for count in (1, 2, 3, 5, 9):
        where = np.unique(np.linspace(0, entries - 1, count).astype(np.int64))
        code = encode_positions(where, entries)
        assert np.array_equal(decode_positions(code, entries, len(where)), where)


def test_positions_that_lie_together_at_the_end_survive() -> None:
    where = np.arange(4000, 4096)
    assert np.array_equal(decode_positions(encode_positions(where, 4096), 4096, 96), where)


def test_low_bits_come_first_and_then_the_rest_in_unary() -> None:
    # Four positions among 64: l = 4, low bits 0011 1001 1000 1111. The rest is 0 0 2 3: bits 0, 1, 4, 6 of 7 are set.
    assert count_low_bits(64, 4) == 4
    assert encode_positions(np.array([3, 9, 40, 63]), 64).tobytes() == bytes([0b00111001, 0b10001111, 0b11001010])


def test_dense_positions_are_written_as_a_mask() -> None:
    where = _drawn(1000, 400)
    mask = np.zeros(1000, dtype=bool)
    mask[where] = True
    assert np.array_equal(encode_positions(where, 1000), np.packbits(mask))


def test_the_counts_alone_decide_how_long_a_code_is() -> None:
    lengths = {len(encode_positions(_drawn(5000, 290, seed), 5000)) for seed in range(5)}
    assert lengths == {len(encode_positions(np.arange(290), 5000))} == {code_length(5000, 290)}


@pytest.mark.parametrize("share", [0.001, 0.01, 0.058, 0.1])
def test_sparse_positions_take_at_most_six_tenths_of_a_bit_more_than_the_least_there_is(share: float) -> None:
    entries = 1_000_000
    count = round(share * entries)
    assert 8 * code_length(entries, count) < _entropy_bits(entries, count) + 0.6 * count
    assert code_length(entries, count) < entries / 8


def test_no_positions_take_no_bytes() -> None:
    assert encode_positions(np.array([], dtype=np.int64), 4096).tobytes() == b""
    assert decode_positions(np.array([], dtype=np.uint8), 4096, 0).tolist() == []


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [[3, 3], [5, 2], [-1, 4], [4, 100], [100]])
def test_positions_that_do_not_ascend_within_their_matrix_are_not_written(where: list[int]) -> None:
    with pytest.raises(ValueError, match="do not ascend"):
        encode_positions(np.array(where), 100)


def _code(*parts: str) -> np.ndarray:
    return np.array([int(part, 2) for part in parts], dtype=np.uint8)


def test_a_code_of_another_length_is_refused() -> None:
    code = encode_positions(_drawn(4096, 100), 4096)
    for wrong in (code[:-1], np.append(code, np.uint8(0)), code[:0]):
        with pytest.raises(ValueError, match="do not take"):
            decode_positions(wrong, 4096, 100)
    for count in (99, 101, 4096):
        with pytest.raises(ValueError, match=r"do not take|there are not|behind"):
            decode_positions(code, 4096, count)


@pytest.mark.parametrize(
    ("code", "entries", "count", "says"),
    [
        (_code("00111001", "10001111", "11001000"), 64, 4, "there are not 4 positions"),
        (_code("00111001", "10001111", "11011010"), 64, 4, "there are not 4 positions"),
        (_code("00111001", "10001111", "11001011"), 64, 4, "behind the last"),
        (_code("11111101", "01000000"), 128, 1, "behind the last"),
        (_code("10010011", "10001111", "11001010"), 64, 4, "do not ascend"),  # 9 before 3
        (_code("00110011", "10001111", "11001010"), 64, 4, "do not ascend"),  # 3 twice
        (_code("11111100", "01000000"), 100, 1, "do not ascend"),  # 127
    ],
)
def test_a_code_that_was_never_written_is_refused(code: np.ndarray, entries: int, count: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_positions(code, entries, count)


def test_a_mask_with_other_counts_or_bits_behind_its_end_is_refused() -> None:
    assert decode_mask(_code("10100000"), 5, 2).tolist() == [0, 2]
    for mask, entries, count in [("10100000", 5, 3), ("10100000", 5, 1), ("10100100", 5, 2), ("10100000", 9, 2)]:
        with pytest.raises(ValueError, match=r"are not|behind|do not take"):
            decode_mask(_code(mask), entries, count)


@pytest.mark.parametrize(("entries", "count"), [(10, 11), (10, -1), (-1, 0), (2**62, 1), (2**70, 0), (2**40, 2**39)])
def test_counts_that_cannot_be_are_refused(entries: int, count: int) -> None:
    for read in (decode_positions, decode_mask):
        with pytest.raises(ValueError, match="there cannot be"):
            read(np.zeros(3, dtype=np.uint8), entries, count)


def test_reading_takes_memory_for_what_is_there_and_not_for_what_is_claimed() -> None:
    few, nothing = np.array([7, MOST_ENTRIES - 1]), np.zeros(1, dtype=np.uint8)
    sparse = encode_positions(few, MOST_ENTRIES)
    full = np.full(1_000_000, 0xFF, dtype=np.uint8)
    tracemalloc.start()
    assert np.array_equal(decode_positions(sparse, MOST_ENTRIES, 2), few)
    with pytest.raises(ValueError, match="do not take"):
        decode_positions(nothing, MOST_ENTRIES, MOST_ENTRIES)
    with pytest.raises(ValueError, match="there are not"):
        decode_mask(full, 8_000_000, 10)  # 64 MB, were its positions made before they are counted
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
