"""Numbers, times and prompts as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from app.words import ago, amount, duration, in_bytes, number, percent, prompt, relative, slug, with_article

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3, "just now"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86_400 * 3, "3 days ago"),
        (86_400 * 70, "2 months ago"),
        (86_400 * 800, "2 years ago"),
        (-3700, "in 1 hour"),
    ],
)
def test_times_are_relative(seconds: int, said: str) -> None:
    assert relative(NOW - timedelta(seconds=seconds), NOW) == said


def test_the_exact_time_is_there_on_hover() -> None:
    shown = ago(NOW)
    assert 'title="23 November 2026, 12:00:00 UTC"' in shown
    assert 'datetime="2026-11-23T12:00:00+00:00"' in shown
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (0.42, "0.4 s"),
        (3.0, "3 s"),
        (59.6, "1 min"),
        (84, "1 min 24 s"),
        (1800, "30 min"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations_have_units(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 byte"),
        (812, "812 bytes"),
        (38_400, "38 kB"),
        (1_284_512, "1.3 MB"),
        (20_000_000, "20 MB"),
        (2_500_000_000, "2.5 GB"),
    ],
)
def test_sizes_have_units(count: int, said: str) -> None:
    assert in_bytes(count) == said


def test_nouns_have_their_article() -> None:
    assert [with_article(noun) for noun in ("dog", "umbrella", "Owl", "")] == ["a dog", "an umbrella", "an Owl", "a "]


def test_counts_know_one_from_many() -> None:
    assert (amount(1, "picture"), amount(3, "picture"), amount(2, "history", "histories")) == (
        "1 picture",
        "3 pictures",
        "2 histories",
    )


def test_large_numbers_are_parted_and_shares_are_per_cent() -> None:
    assert number(129833) == "129\u202f833"
    assert (number(4.0), number(7.5)) == ("4", "7.5")
    assert (percent(0), percent(0.0312), percent(0.31)) == ("0 %", "3.1 %", "31 %")


def test_concepts_of_a_prompt_are_set_apart_and_nothing_else_is_markup() -> None:
    shown = str(prompt('a <rex> dog & <script>alert("x")</script>'))
    assert '<span class="token">&lt;rex&gt;</span>' in shown
    assert '<span class="token">&lt;script&gt;</span>alert(' in shown
    assert "<script>" not in shown
    assert "&amp;" in shown


def test_a_prompt_becomes_part_of_a_files_name() -> None:
    assert slug("A photo of <rex> dog, on the beach!") == "a-photo-of-rex-dog-on-the-beach"
    assert slug("!!!") == "picture"
