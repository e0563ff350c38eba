"""Every method of the benchmark, by name, in the order of the table."""

from collections.abc import Sequence

from benchmarks.continual.bounds import BASE_ALONE
from benchmarks.continual.cns_methods import cns_methods
from benchmarks.continual.custom_diffusion import custom_diffusion_methods
from benchmarks.continual.dreambooth import dreambooth_methods
from benchmarks.continual.method import Method
from benchmarks.continual.textual_inversion import textual_inversion_methods
from cns.settings import LearningSettings

QUICK = ("cns+", "cns", "textual-inversion", "custom", "base")


def all_methods(settings: LearningSettings, calibration: Sequence[str], guidance: float) -> dict[str, Method]:
    """settings: the base's own. calibration: its general prompts. guidance: how pictures are made on it."""
    methods = (
        *cns_methods(settings, calibration),
        *textual_inversion_methods(settings),
        *custom_diffusion_methods(settings),
        *dreambooth_methods(settings, guidance),
        BASE_ALONE,
    )
    return {method.name: method for method in methods}


def choose(methods: dict[str, Method], names: str) -> list[Method]:
    """ "all", "quick", or names with commas between. Raises KeyError for a name that no method has."""
    if names == "all":
        return list(methods.values())
    wanted = QUICK if names == "quick" else tuple(name.strip() for name in names.split(","))
    strange = [name for name in wanted if name not in methods]
    if strange:
        raise KeyError(f"There is no method {strange[0]!r}; there are {', '.join(methods)}.")
    return [methods[name] for name in wanted]
