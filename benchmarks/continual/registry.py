"""Every method of the benchmark, by name, in the order of the table."""

from collections.abc import Sequence

from benchmarks.continual.bounds import BASE_ALONE
from benchmarks.continual.cns_methods import cns_methods
from benchmarks.continual.custom_diffusion import custom_diffusion_methods
from benchmarks.continual.custom_merged import merged_custom_diffusion
from benchmarks.continual.dreambooth import dreambooth_methods
from benchmarks.continual.low_rank_methods import low_rank_methods
from benchmarks.continual.method import Method
from benchmarks.continual.textual_inversion import textual_inversion_methods
from cns.errors import CnsError
from cns.own_settings import UsualSettings


class UnknownMethod(CnsError):
    """A method was asked for by a name that none has."""


QUICK = ("custom", "cns", "cns-local", "textual-inversion", "base")  # what takes longest first, as two go on at a time


def all_methods(usual: UsualSettings, calibration: Sequence[str], guidance: float) -> dict[str, Method]:
    """usual: the base's own settings. calibration: its general prompts. guidance: how pictures are made on it."""
    settings = usual.by_reach["everywhere"]
    custom = custom_diffusion_methods(settings, guidance)
    methods = (
        *cns_methods(usual, calibration),
        *textual_inversion_methods(settings),
        *custom,
        merged_custom_diffusion(custom[0], guidance, calibration),
        *dreambooth_methods(settings, guidance),
        *low_rank_methods(settings),
        BASE_ALONE,
    )
    return {method.name: method for method in methods}


def choose(methods: dict[str, Method], names: str) -> list[Method]:
    """ "all", "quick", or names with commas between. Raises UnknownMethod."""
    if names == "all":
        return list(methods.values())
    wanted = QUICK if names == "quick" else tuple(name.strip() for name in names.split(","))
    strange = [name for name in wanted if name not in methods]
    if strange:
        raise UnknownMethod(f"There is no method {strange[0]!r}; there are {', '.join(methods)}.")
    return [methods[name] for name in wanted]
