"""docs/unlearning.md, written from the figures and never by hand."""

from collections.abc import Mapping
from typing import Any

from benchmarks.unlearning.bars import REACHES, best_option, worst_of_others

_SAID = {
    "before": "nothing is forgotten",
    "kept": "fast, shared values kept",
    "blended": "fast, shared values half way",
    "rebased": "fast, shared values rebased",
    "exact": "exact, learned again",
}

_HEAD = """# Forgetting on purpose, measured

Written by `python -m benchmarks.unlearning` from `benchmarks/results/unlearning.json`. What the ways are stands in
[decision 0013](decisions/0013-forgetting.md).

{order} were learned one after another on the storybook base, {steps} steps each, from five pictures; then {lost}, the
{noun}, was forgotten: once with values that apply at their own token
([decision 0023](decisions/0023-values-at-the-token.md)), once with values that reach everywhere.

Likeness is the mean cosine, by the individuals' encoder, of {pictures} pictures of a concept in four places with eight
real renders that nothing was learned from.

- *worst kept*: the smallest share of its likeness before that another concept keeps.
- *by its class noun*: "a photo of a {noun} ...", which is all that a prompt can say of {lost} once its token is gone.
  On the untouched base that is {base_noun:.3f}; real renders among each other have {real:.3f}. The bar is the share of
  the way from there to its likeness before; values that reach everywhere move the noun too, as the exact line shows.
- *its old token put back*: what somebody gets who had kept {lost}'s token vector. A token alone carries much of a
  concept, so that the yardstick is the exact line, which never knew {lost}.
- *exact*: the later concepts, learned again as if {lost} had never been. At the token they come out the same to the
  bit; everywhere they begin on other weights than the first time, and come out as from another seed.
- *general prompts*: CLIP similarity of {generic} pictures to those of the untouched base from the same seeds.
"""

_REACH = """
## Values {reach}

Of {lost}'s {size} values {returned} were its own and came back to what was there before it; {shared} are held by a
later concept too.{best}

| way | {others} | worst kept | {lost} by its class noun | its old token put back | general prompts | seconds |
|---|{rule}---|---|---|---|---|
{rows}
"""

_FOOT = """
## What had to hold
| | value | goal | |
|---|---|---|---|
{bars}

Measured with {machine}.
"""


def write_page(results: Mapping[str, Any], default: str) -> str:
    """default: the fast way that is taken where nobody says otherwise."""
    machine = {**results["machine"], **results["versions"]}
    foot = _FOOT.format(
        bars="\n".join(
            f"| {bar['name']} | {bar['value']:.3f} | {bar['goal']} | {'holds' if bar['holds'] else '**fails**'} |"
            for bar in results["bars"]
        ),
        machine=", ".join(f"{name} {value}" for name, value in machine.items()),
    )
    reaches = results["reaches"]
    return _head(next(iter(reaches.values()))) + "".join(_section(reaches[r], r, default) for r in reaches) + foot


def _head(figures: Mapping[str, Any]) -> str:
    lost, base = figures["forgotten"], figures["base"]
    return _HEAD.format(
        order=", ".join(f"{name} ({noun})" for name, noun in figures["nouns"].items()),
        steps=figures["settings"]["steps"],
        lost=lost,
        noun=figures["nouns"][lost],
        pictures=figures["pictures"],
        generic=figures["generic_pictures"],
        base_noun=base["noun"][lost],
        real=base["real"][lost],
    )


def _section(figures: Mapping[str, Any], reach: str, default: str) -> str:
    lost, ways = figures["forgotten"], figures["ways"]
    names = [name for name in ways["before"]["concepts"] if name != lost]
    best = f" The fast way that costs the others least here is **{best_option(figures)}**; the default is {default}."
    return _REACH.format(
        reach=REACHES[reach],
        lost=lost,
        size=figures["returned"] + figures["shared"],
        returned=figures["returned"],
        shared=figures["shared"],
        best=best if figures["shared"] else " So there is one fast way.",
        others=" | ".join(names),
        rule="---|" * (len(names) + 1),
        rows="\n".join(_row(way, after, ways["before"], lost, names) for way, after in ways.items()),
    )


def _row(way: str, after: Mapping[str, Any], before: Mapping[str, Any], lost: str, names: list[str]) -> str:
    own = after["concepts"].get(lost)
    cells = [f"{after['concepts'][name]:.3f}" for name in names]
    cells.append("" if way == "before" else f"{worst_of_others(before, after, lost):.3f}")
    cells.append(f"{after['noun']:.3f}" + ("" if own is None else f" ({own:.3f} by its token)"))
    cells += [f"{after['stolen']:.3f}", f"{after['generic']:.3f}"]
    cells.append("" if way == "before" else f"{after['seconds']:.1f}")
    return f"| {_SAID[way]} | {' | '.join(cells)} |"
