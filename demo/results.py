"""What comes of the demo: the library demo's report and sheet, the checks of both, and how long requests waited."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from cns.history_folder import write_atomically
from demo.rest import Waited
from demo.story import Files, Told
from storybook.demo import ROLLED_BACK_TO, Demo, score_drawings, score_generic, score_pairs
from storybook.demo_report import Check, build_report

WAITS_FILE = "waits.json"


def report_on(demo: Demo, told: Told, checksums: tuple[str, str], seconds_total: float) -> dict[str, Any]:
    """The report with the keys of the library demo's. checksums: of the base's files, before and after everything."""
    drawings = told.drawings
    return build_report(
        base={"id": told.base_id, "sha256_before": checksums[0], "sha256_after": checksums[1]},
        versions=told.versions,
        scores=score_drawings(demo, drawings),
        zero_shot=score_generic(demo, drawings),
        two_concepts=score_pairs(demo, drawings),
        rollback={"version": ROLLED_BACK_TO, "identical": same_files(told.files[ROLLED_BACK_TO], told.again)},
        seconds_total=seconds_total,
    )


def check_service(demo: Demo, told: Told, library: Sequence[str] | None) -> list[Check]:
    """What must hold of the service beyond what must hold of the report.

    library: digests of the deltas that the library made of the same inputs; None where it was not asked.
    """
    base_before = {key: file for key, file in told.files[0].items() if key in told.base_again}
    learned = tuple(range(1, len(demo.lessons) + 1))
    heads = (*learned, ROLLED_BACK_TO, len(demo.lessons))
    checks = [
        Check(told.base_id == demo.base.id, "The service works on the base whose files lie here."),
        Check(
            same_files(base_before, told.base_again),
            "The untouched base draws the same files at the end as at the beginning.",
        ),
        Check(told.heads == heads, f"Head stood at {', '.join(map(str, told.heads))}: forward, back, and returned."),
        Check(
            told.delta_files == tuple(version.delta for version in told.versions),
            "Each downloaded delta has the digest of its version.",
        ),
    ]
    if library is not None:
        checks += [
            Check(
                ours.delta == theirs,
                f"{ours.concept}: the service and the library learned the same bytes "
                f"({ours.delta[:12]} and {theirs[:12]}).",
            )
            for ours, theirs in zip(told.versions, library, strict=True)
        ]
    return checks


def same_files(one: Files, other: Files) -> bool:
    """Whether both hold the same pictures, and at least one, to the last byte of the file."""
    return bool(one) and dict(one) == dict(other)


def write_waits(out: Path, waits: Sequence[Waited]) -> None:
    """How long each request waited and took, in the order of asking."""
    written = json.dumps([asdict(waited) for waited in waits], indent=1)
    write_atomically(out / WAITS_FILE, f"{written}\n".encode())


def describe_waits(waits: Sequence[Waited]) -> list[str]:
    """A sentence for each kind of request."""
    return [_describe(kind, [waited for waited in waits if waited.asked == kind]) for kind in _kinds(waits)]


def _kinds(waits: Sequence[Waited]) -> Mapping[str, None]:
    return dict.fromkeys(waited.asked for waited in waits)


def _describe(kind: str, waits: Sequence[Waited]) -> str:
    queued = [waited.queued_s for waited in waits]
    answered = [waited.answered_s for waited in waits]
    return (
        f"{len(waits)} x {kind}: begun {median(queued):.2f} s after being asked for (at most {max(queued):.2f} s), "
        f"all there after {median(answered):.1f} s (at most {max(answered):.1f} s)."
    )
