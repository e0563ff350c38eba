"""docs/unlearning.md, written from the figures and never by hand."""

from collections.abc import Mapping
from typing import Any

from benchmarks.unlearning.bars import best_option, worst_of_others

_SAID = {
    "before": "nothing is forgotten",
    "kept": "fast, shared values kept",
    "blended": "fast, shared values half way",
    "rebased": "fast, shared values rebased",
    "exact": "exact, learned again",
}

_PAGE = """# Forgetting on purpose, measured

Written by `python -m benchmarks.unlearning` from `benchmarks/results/unlearning.json`. What the ways are stands in
[decision 0013](decisions/0013-forgetting.md).

{order} were learned one after another on the storybook base, {steps} steps each,
from five pictures; then {lost}, {noun}, was forgotten. Of its {size} values {returned} were its own and came back to
what was there before it; {shared} are held by a later concept too.

Likeness is the mean cosine, by the individuals' encoder, of {pictures} pictures of a concept in four places with eight
real renders that nothing was learned from.

| way | {others} | worst kept | {lost} by its class noun | its old token put back | general prompts | seconds |
|---|{rule}---|---|---|---|---|
{rows}

- *worst kept*: the smallest share of its likeness before that another concept keeps.
- *by its class noun*: "a photo of a {bare} ...", which is all that a prompt can say of {lost} once its token is gone.
  On the untouched base that is {base_noun:.3f}; real renders among each other have {real:.3f}. The bar is the share of
  the way from there to its likeness before; other concepts move the noun too, as the exact line shows.
- *its old token put back*: what somebody gets who had kept {lost}'s token vector. A token alone carries much of a
  concept, so that the yardstick is the exact line, which never knew {lost}: {stolen:.3f}.
- *general prompts*: CLIP similarity of {generic} pictures to those of the untouched base from the same seeds.

The fast way that costs the others least here is **{best}**; the default is {default}.

## What had to hold
| | value | goal | |
|---|---|---|---|
{bars}

Measured with {machine}.
"""


def write_page(results: Mapping[str, Any], default: str) -> str:
    """default: the fast way that is taken where nobody says otherwise."""
    figures, lost = results["figures"], results["figures"]["forgotten"]
    ways, base = figures["ways"], figures["base"]
    names = [name for name in ways["before"]["concepts"] if name != lost]
    machine = results["machine"]
    noun = figures["nouns"][lost]
    return _PAGE.format(
        order=", ".join(f"{name} ({figures['nouns'][name]})" for name in ways["before"]["concepts"]),
        steps=figures["settings"]["steps"],
        lost=lost,
        noun=f"the {noun}",
        bare=noun,
        size=figures["returned"] + figures["shared"],
        returned=figures["returned"],
        shared=figures["shared"],
        pictures=figures["pictures"],
        generic=figures["generic_pictures"],
        others=" | ".join(names),
        rule="---|" * (len(names) + 1),
        rows="\n".join(_row(way, after, ways["before"], lost, names) for way, after in ways.items()),
        base_noun=base["noun"][lost],
        real=base["real"][lost],
        stolen=ways["exact"]["stolen"],
        best=best_option(figures),
        default=default,
        bars="\n".join(
            f"| {bar['name']} | {bar['value']:.3f} | {bar['goal']} | {'holds' if bar['holds'] else '**fails**'} |"
            for bar in results["bars"]
        ),
        machine=", ".join(f"{name} {value}" for name, value in {**machine, **results["versions"]}.items()),
    )


def _row(way: str, after: Mapping[str, Any], before: Mapping[str, Any], lost: str, names: list[str]) -> str:
    own = after["concepts"].get(lost)
    cells = [f"{after['concepts'][name]:.3f}" for name in names]
    cells.append("" if way == "before" else f"{worst_of_others(before, after, lost):.3f}")
    cells.append(f"{after['noun']:.3f}" + ("" if own is None else f" ({own:.3f} by its token)"))
    cells += [f"{after['stolen']:.3f}", f"{after['generic']:.3f}"]
    cells.append("" if way == "before" else f"{after['seconds']:.1f}")
    return f"| {_SAID[way]} | {' | '.join(cells)} |"
