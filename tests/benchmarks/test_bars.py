"""Bars say what was asked for, in one table for every benchmark."""

from dataclasses import asdict

from benchmarks.bars import Bar, at_least, at_most, bar_table
from benchmarks.markdown import make_table


def test_a_table_of_bars_says_what_was_missed_what_was_not_measured_and_who_is_ahead() -> None:
    bars = [at_least("kept", 0.97, 0.95), at_most("lost", 3.7e-7, 1e-8), Bar("cured", None, 0.8, False)]
    bars.append(Bar("aligned", -0.02, 0.0, False, against="custom"))
    assert bar_table([asdict(bar) for bar in bars]).splitlines()[2:] == [
        "| kept | 0.970 | 0.950 | yes |",
        "| lost | 3.7e-07 | 1.0e-08 | **no** |",
        "| cured | not measured | 0.800 | **no** |",
        "| aligned | -0.0200 | better than `custom`, the best other | **no** |",
    ]


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert make_table(("who", "what", "much"), [("a", "b", 1)], words=2).splitlines()[1] == "|---|---|---:|"
