"""The low-rank methods as they stand in the table, with the numbers of their own and the values that tuning tries."""

from benchmarks.continual.c_lora import CLora
from benchmarks.continual.lora_merged import MergedLora
from benchmarks.continual.lora_sequential import SequentialLora
from benchmarks.continual.method import Kind, Method, Start
from benchmarks.continual.mix_of_show import MixOfShow
from benchmarks.continual.orthogonal_adaptation import OrthogonalAdaptation
from cns.settings import LearningSettings

RANK = 4
"""Where the search begins. Published adapters have 4 to 20 of widths six times the storybook's."""


def low_rank_methods(settings: LearningSettings) -> tuple[Method, ...]:
    """settings: the base's own, in whose rate of the token that rate is counted. The rates of weights tried go
    from half of what is published for larger bases to twenty times that, as these adapters are learned in fewer steps.

    share: of each adapter when they are added up. firmness: of C-LoRA's penalty. says_noun: 1 leaves the class noun in
    its captions. ridge, fusion_steps: see `Fusion.solve`, and the steps of the pictures that projections are fused on.
    """

    def method(
        name: str,
        title: str,
        kind: Kind,
        start: Start,
        own: dict[str, float],
        space: dict[str, tuple[float, ...]],
    ) -> Method:
        rates = {"lr_weights": 5e-4, "lr_token": 0.5 * settings.lr_token}
        tried = {
            "rank": (RANK, 2 * RANK, 4 * RANK),
            "lr_weights": (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3),
            "lr_token": tuple(settings.lr_token * factor for factor in (0.2, 0.5, 1.0)),
        }
        return Method(name, title, "low rank", kind, start, {"rank": RANK, **own, **rates}, {**space, **tried})

    return (
        method("lora-sequential", "LoRA, sequential", "sequential", SequentialLora, {}, {}),
        method(
            "lora-merged", "LoRA, merged by adding", "fused", MergedLora, {"share": 1.0}, {"share": (0.5, 0.7, 1.0)}
        ),
        method(
            "mix-of-show",
            "Mix-of-Show",
            "fused",
            MixOfShow,
            {"ridge": 1e-4, "fusion_steps": 20},
            {"ridge": (1e-6, 1e-4, 1e-2)},
        ),
        method(
            "orthogonal-adaptation",
            "Orthogonal Adaptation",
            "fused",
            OrthogonalAdaptation,
            {"share": 1.0},
            {"share": (0.6, 0.8, 1.0)},
        ),
        method(
            "c-lora",
            "C-LoRA",
            "sequential",
            CLora,
            {"firmness": 1e4, "says_noun": 0},
            {"firmness": (1e2, 1e4, 1e6), "says_noun": (0, 1)},
        ),
    )
