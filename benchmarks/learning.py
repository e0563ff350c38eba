"""What every benchmark on the storybook does alike: draw an individual's pictures, and learn a concept to its end."""

from collections.abc import Callable, Sequence

from PIL import Image

from cns.base_model import BaseModel
from cns.compose import Version
from cns.delta import Delta
from cns.learning import Concept, LearningRun
from cns.selection import Selector, select_concept_neurons
from cns.settings import LearningSettings
from storybook.individuals import Individual, portraits
from storybook.world import draw


def renders(who: Individual, count: int, seed: int) -> list[Image.Image]:
    """`count` pictures of an individual, others for another seed."""
    return [Image.fromarray(draw(scene)) for scene in portraits(who, count, seed)]


def learn_whole(
    base: BaseModel,
    version: Version,
    concept: Concept,
    settings: LearningSettings,
    calibration: Sequence[str],
    *,
    selector: Selector = select_concept_neurons,
    on_step: Callable[[int, int], None] | None = None,
) -> Delta:
    """All steps of one learning on top of `version`; see `LearningRun`."""
    run = LearningRun(base, version, concept, settings, calibration=calibration, selector=selector)
    while not run.done:
        run.step()
        if on_step is not None:
            on_step(run.steps_done, settings.steps)
    return run.finish()
