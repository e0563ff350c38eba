"""One case: its history, the learning that is judged, and the learnings by the remedies that it is given."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.diagnosis.bench import PICTURE_SEED, Bench, Learned, learn
from benchmarks.diagnosis.measures import Measures, measures_of
from benchmarks.diagnosis.plan import PICTURES, Case
from benchmarks.kept import Kept, digest_of
from benchmarks.machine import describe_machine
from cns.remedies import LearnedWith, Signature, find_remedy
from cns.settings import change_settings

Begin = Callable[[str], None]
"""Called before each learning with what it is; an exception from it ends the case there; what was learned is kept."""


@dataclass(frozen=True)
class Remedied:
    """What came of learning again as the remedy for one signature says."""

    signature: Signature
    words: str
    changes: dict[str, Any]
    measures: Measures


@dataclass(frozen=True)
class Record:
    """What one case gave."""

    stage: int
    split: str
    recipe: str
    history: tuple[str, str]
    newcomer: str
    settings: dict[str, Any]
    seconds: float
    measures: Measures
    remedies: tuple[Remedied, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Record":
        """The record that `to_json` wrote."""
        remedies = tuple(Remedied(**{**one, "measures": Measures(**one["measures"])}) for one in data["remedies"])
        measures = Measures(**data["measures"])
        return cls(**{**data, "history": tuple(data["history"]), "measures": measures, "remedies": remedies})


def answer_case(bench: Bench, case: Case, kept: Kept, begin: Begin) -> Record:
    """The case as it was kept, on whatever machine that was, or run and then kept."""
    name, question = name_case(case), case_question(bench, case)
    found = kept.find(name, question)
    if found is None:
        record = run_case(bench, case, begin).to_json()
        found = kept.put(name, question, {"machine": describe_machine(bench.base.device), "record": record})
    return Record.from_json(found["record"])


def name_case(case: Case) -> str:
    """Of its file: "0-few-steps"."""
    return f"{case.stage.number}-{case.recipe.name.replace(', ', '-').replace(' ', '-')}"


def case_question(bench: Bench, case: Case) -> str:
    """A digest of all that decides what a case gives, but for the code and the machine."""
    used, stage = case.recipe.settings(bench.usual), case.stage
    remedies = [
        find_remedy(signature, LearnedWith(used, bench.usual.own)) for signature in sorted(case.recipe.made_for)
    ]
    return digest_of(
        {
            "base": bench.base.id,
            "dtype": str(bench.base.dtype),
            "judges": [bench.judge.id, bench.likeness.id],
            "history": [asdict(who) for who in (stage.first, stage.second)],
            "split": stage.split,
            "newcomer": asdict(case.newcomer),
            "recipe": case.recipe.name,
            "pictures": [PICTURES, case.recipe.pictures, PICTURE_SEED],
            "usual": bench.usual.own.to_json(),
            "before": case.recipe.before(bench.usual).to_json(),
            "settings": used.to_json(),
            "remedies": [dict(remedy.changes) for remedy in remedies],
            "examination": asdict(bench.examination),
            "prompts": [bench.calibration, bench.generic],
        }
    )


def run_case(bench: Bench, case: Case, begin: Begin) -> Record:
    """Whatever was learned by an earlier run is read, not learned again.

    Every remedy is tried, whether the signature was found or not: what is found depends on thresholds that are still
    to be set.
    """
    before = learn_history(bench, case, begin)
    recipe, who = case.recipe, case.newcomer
    used = recipe.settings(bench.usual)
    begin(f"<{who.name}>, {recipe.name}")
    learned = learn(bench, before, who, used, recipe.pictures)
    remedies = []
    for signature in sorted(recipe.made_for):
        remedy = find_remedy(signature, LearnedWith(used, bench.usual.own))
        begin(f"<{who.name}>, {recipe.name}: remedy for {signature}, {remedy.words}")
        again = learn(bench, before, who, change_settings(used, remedy.changes), recipe.pictures)
        changes = dict(remedy.changes)
        remedies.append(Remedied(signature, remedy.words, changes, measures_of(again.examination)))
    return Record(
        stage=case.stage.number,
        split=case.stage.split,
        recipe=recipe.name,
        history=(case.stage.first.name, case.stage.second.name),
        newcomer=who.name,
        settings=used.to_json(),
        seconds=learned.seconds,
        measures=measures_of(learned.examination),
        remedies=tuple(remedies),
    )


def learn_history(bench: Bench, case: Case, begin: Begin) -> Sequence[Learned]:
    """The two individuals of a case's stage, with the settings that its recipe wants for them."""
    before: list[Learned] = []
    for who in (case.stage.first, case.stage.second):
        begin(f"history of stage {case.stage.number}: <{who.name}>")
        before.append(learn(bench, before, who, case.recipe.before(bench.usual), PICTURES))
    return before
