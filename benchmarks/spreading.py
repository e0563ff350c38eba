"""What files of other programs keep of values that apply at their token alone (`cns.spreading`):

    python -m benchmarks.spreading --names tiger,finn

Learns the individuals one after another and measures how far their pictures have come from their class noun's (0) to
real renders (1): with their own values, without any, with the values written into the weights as they are, and spread
into the weights with general prompts counting more and more. Writes benchmarks/results/spreading.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.continual.results import write_results
from benchmarks.learning import renders
from benchmarks.machine import describe_machine, library_versions
from benchmarks.markdown import make_table
from benchmarks.settings_trial import COMPARED_WITH, learn_in_turn, similarity_of
from cns.base_model import BaseModel, load_base
from cns.captions import RetrievalCaptioner
from cns.compose import Version, compose
from cns.judge import ImageEncoder, load_judge
from cns.metrics import self_similarity
from cns.own_settings import load_generation_settings, load_usual_settings
from cns.phrases import load_calibration_prompts
from cns.spreading import spread_into_weights
from storybook import MODEL_FOLDER
from storybook.individuals import Individual, find_individual
from storybook.likeness import find_likeness

RESULTS = Path(__file__).resolve().parent / "results" / "spreading.json"
FIRMNESSES = (0.01, 1.0, 10.0, 100.0)


class Scales:
    """How far pictures of individuals have come. guidance: how they are made."""

    def __init__(
        self, base: BaseModel, individuals: Sequence[Individual], likeness: ImageEncoder, guidance: float
    ) -> None:
        self._base, self._individuals, self._likeness, self._guidance = base, individuals, likeness, guidance
        self._references: Mapping[str, Tensor] = {
            who.name: likeness.image_features(renders(who, COMPARED_WITH, seed=77)) for who in individuals
        }
        self._nouns = {who.name: self._similarity(compose(base), who, who.noun) for who in individuals}

    def way(self, version: Version) -> float:
        """Share of the way under `version`, mean over the individuals."""
        shares = []
        for who in self._individuals:
            noun, real = self._nouns[who.name], self_similarity(self._references[who.name])
            shares.append((self._similarity(version, who, f"<{who.name}> {who.noun}") - noun) / (real - noun))
        return float(np.mean(shares))

    def _similarity(self, version: Version, who: Individual, called: str) -> float:
        return similarity_of(self._base, version, who, called, self._likeness, self._references, self._guidance)


def measure_spreading(
    base: BaseModel, version: Version, general: Sequence[str], scales: Scales, firmnesses: Sequence[float] = FIRMNESSES
) -> list[dict[str, Any]]:
    """A row for each way to draw the version's tokens: {name, way, missed, moved}; the last two where it is spread."""
    everywhere = compose(base, [replace(delta, reach="everywhere") for delta in version.deltas])
    plain = {
        "their own values": version,
        "the words alone": replace(version, at_tokens={}),
        "written in as they are": everywhere,
    }
    rows: list[dict[str, Any]] = [{"name": name, "way": scales.way(one)} for name, one in plain.items()]
    for firmness in firmnesses:
        spread = spread_into_weights(base, version, general, firmness)
        missed = float(np.mean(list(spread.missed.values())))
        way = scales.way(spread.version)
        rows.append({"name": f"spread, firmness {firmness:g}", "way": way, "missed": missed, "moved": spread.moved})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--names", default="tiger,finn")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    likeness = find_likeness(options.base)
    if likeness is None:
        raise SystemExit(f"{options.base} has no individuals' encoder.")
    base = load_base(options.base)
    individuals = [find_individual(name) for name in options.names.split(",")]
    settings = load_usual_settings(options.base).by_reach["token"]
    captioner = RetrievalCaptioner.of_base(load_judge(options.base / "clip"), options.base)
    general = load_calibration_prompts(options.base)
    version = learn_in_turn(base, individuals, settings, captioner, general)
    scales = Scales(base, individuals, likeness, load_generation_settings(options.base).guidance)
    rows = measure_spreading(base, version, general, scales)
    facts = {"machine": describe_machine(base.device), "libraries": library_versions(), "names": options.names}
    write_results(
        options.results, {"name": "spreading", **facts, "settings": settings.to_json(), "rows": rows, "bars": []}
    )
    shown = [(row["name"], row["way"], row.get("missed", "-"), row.get("moved", "-")) for row in rows]
    sys.stdout.write(make_table(("", "way", "missed at the token", "general K and V moved"), shown) + "\n")


if __name__ == "__main__":
    main()
