"""What is finished is kept, and found again by the same question alone."""

from pathlib import Path

import pytest

from benchmarks.kept import Kept, digest_of


def test_an_answer_is_found_by_its_question_and_by_no_other(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    put = kept.put("one/cns-0", "q", {"values": (1 / 3, 2), "machine": {"cores": 2}})
    assert put == {"question": "q", "values": [0.333333, 2], "machine": {"cores": 2}}
    assert Kept(tmp_path).find("one/cns-0", "q") == put
    assert kept.find("one/cns-0", "r") is None
    assert kept.find("one/cns-1", "q") is None
    assert kept.has("one/cns-0")


def test_each_part_is_a_line(tmp_path: Path) -> None:
    Kept(tmp_path).put("a", "q", {"stages": [{"learned": ["rex"]}, {"learned": ["tom"]}]})
    assert len((tmp_path / "a.json").read_text().splitlines()) == 4


def test_what_is_not_a_number_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        Kept(tmp_path).put("a", "q", {"value": float("nan")})
    assert not Kept(tmp_path).has("a")


def test_a_question_does_not_hang_on_the_last_bit_of_a_number() -> None:
    assert digest_of({"rate": 0.1 * 3}) == digest_of({"rate": 0.3})
    assert digest_of({"rate": 0.3}) != digest_of({"rate": 0.301})
    assert digest_of({"a": 1, "b": (1, 2)}) == digest_of({"b": [1, 2], "a": 1})
