"""What the demo writes into report.json, and the checks that decide whether it succeeded. Numbers in, data out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cns.history import VersionRecord

SECONDS = ("captions", "selection", "learning", "diagnosis")
DENSITIES = ("base", "general", "concept")
LEAST_SIMILARITY = 0.95  # of generic pictures to the untouched base's, by CLIP
LEAST_KEPT = 0.95  # share of a concept's likeness right after learning that must be left at the end


@dataclass(frozen=True)
class Check:
    """One promise of the demo. sentence: what was looked at and what was found."""

    holds: bool
    sentence: str


def describe_version(version: VersionRecord) -> dict[str, Any]:
    """One entry of the report's `versions`."""
    return {
        "number": version.number,
        "concept": version.concept,
        "delta_sha256": version.delta,
        "bytes": version.delta_bytes,
        "seconds": {stage: round(version.seconds[stage], 2) for stage in SECONDS},
        "density": {mask: version.report["density"][mask] for mask in DENSITIES},
        "overlap": version.report["overlap"],
        "loss": list(version.report["loss"]),
        "diagnosis": [dict(finding) for finding in version.diagnosis],
    }


def build_report(
    *,
    base: Mapping[str, str],
    versions: Sequence[VersionRecord],
    scores: Sequence[Mapping[str, Any]],
    zero_shot: Sequence[Mapping[str, Any]],
    two_concepts: Sequence[Mapping[str, Any]],
    rollback: Mapping[str, Any],
    seconds_total: float,
) -> dict[str, Any]:
    """The whole report. Its keys are kept stable: other programs read them.

    base: id, sha256_before, sha256_after. scores: version, concept, clip_i, clip_t for each concept since it was
    learned, and as version 0 its class noun on the untouched base. zero_shot: version, clip_t, similarity_to_base.
    two_concepts: version, prompt, clip_t. rollback: version, identical.
    """
    return {
        "base": dict(base),
        "versions": [describe_version(version) for version in versions],
        "scores": [dict(score) for score in scores],
        "zero_shot": [dict(entry) for entry in zero_shot],
        "two_concepts": [dict(entry) for entry in two_concepts],
        "rollback": dict(rollback),
        "seconds_total": round(seconds_total, 1),
    }


def check_report(report: Mapping[str, Any]) -> list[Check]:
    """What must hold for the demo to have succeeded."""
    base, rollback = report["base"], report["rollback"]
    checks = [
        Check(
            base["sha256_before"] == base["sha256_after"],
            "The base's checksum is the same before and after everything.",
        ),
        Check(
            bool(rollback["identical"]),
            f"After rolling back to version {rollback['version']} its pictures are the same bytes as before.",
        ),
        Check(not find_gaps(report), f"Every figure is a number{_listed(find_gaps(report))}."),
    ]
    checks += [_check_concept(report["scores"], concept) for concept in _learned(report)]
    checks += [_check_kept(report["scores"], concept) for concept in _learned(report)]
    checks += [_check_generic(entry) for entry in report["zero_shot"] if entry["version"] > 0]
    return checks


def _learned(report: Mapping[str, Any]) -> list[str]:
    return [version["concept"] for version in report["versions"]]


def _check_concept(scores: Sequence[Mapping[str, Any]], concept: str) -> Check:
    """A concept must be nearer to its pictures than its class noun was, at every version since it was learned."""
    noun = [score["clip_i"] for score in scores if score["concept"] == concept and score["version"] == 0]
    since = [score["clip_i"] for score in scores if score["concept"] == concept and score["version"] > 0]
    holds = len(noun) == 1 and bool(since) and all(value > noun[0] for value in since)
    found = ", ".join(f"{value:.2f}" for value in since)
    before = f"{noun[0]:.2f}" if noun else "nothing"
    return Check(holds, f"{concept} looks more like its pictures (CLIP-I {found}) than its class noun does ({before}).")


def _check_kept(scores: Sequence[Mapping[str, Any]], concept: str) -> Check:
    """What came after a concept must not have taken it away."""
    since = sorted(
        (score["version"], score["clip_i"]) for score in scores if score["concept"] == concept and score["version"] > 0
    )
    kept = since[-1][1] / since[0][1] if since and since[0][1] > 0 else 0.0
    return Check(
        kept >= LEAST_KEPT,
        f"{concept} keeps {kept:.0%} of its likeness to the last version (at least {LEAST_KEPT:.0%} wanted).",
    )


def _check_generic(entry: Mapping[str, Any]) -> Check:
    similarity = entry["similarity_to_base"]
    return Check(
        similarity >= LEAST_SIMILARITY,
        f"Generic pictures at version {entry['version']} are like the base's ({similarity:.3f}, "
        f"at least {LEAST_SIMILARITY} wanted).",
    )


def find_gaps(value: Any, name: str = "report") -> list[str]:
    """Names of all figures that are missing or no finite number. A finding need not be about a concept."""
    if isinstance(value, Mapping):
        return [gap for key, part in value.items() if key != "concept" for gap in find_gaps(part, f"{name}.{key}")]
    if isinstance(value, list | tuple):
        return [gap for place, part in enumerate(value) for gap in find_gaps(part, f"{name}[{place}]")]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return [name]
    return []


def _listed(gaps: Sequence[str]) -> str:
    return f"; missing: {', '.join(gaps)}" if gaps else ""
