"""What is said of the machine is measured."""

import sys

import pytest
import torch

from benchmarks.machine import describe_machine, library_versions, peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to forget a process's peak")
def test_the_peak_of_a_block_is_what_it_held_at_most() -> None:
    with peak_memory(torch.device("cpu")) as peak:
        held = torch.ones(20_000_000)  # 80 MB
        del held
    assert peak.extra_bytes is not None
    assert 70e6 < peak.extra_bytes < 200e6
    with peak_memory(torch.device("cpu")) as small:
        pass
    assert small.extra_bytes is not None
    assert small.extra_bytes < 20e6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to forget a process's peak")
def test_whoever_is_measured_second_does_not_profit_from_what_the_first_has_freed() -> None:
    taken = []
    for _ in range(2):
        with peak_memory(torch.device("cpu")) as peak:
            held = [torch.ones(4_000) for _ in range(3_000)]  # 48 MB in pieces that the allocator keeps for itself
            del held
        taken.append(peak.extra_bytes or 0)
    assert min(taken) > 35e6


def test_a_machine_is_described_without_its_name() -> None:
    facts = describe_machine(torch.device("cpu"))
    assert facts.keys() == {"system", "architecture", "processor", "cores", "threads", "device", "python"}
    assert library_versions()["torch"] == torch.__version__
