"""What is said of the machine is measured."""

import sys

import pytest
import torch

from benchmarks.machine import describe_machine, library_versions, peak_memory, peak_of_tensors


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


def test_the_peak_of_tensors_is_known_to_the_byte_whatever_was_there_before() -> None:
    found = []
    for _ in range(2):
        before = torch.ones(1_000)
        with peak_of_tensors(torch.device("cpu")) as peak:
            pieces = [torch.empty(50_000) for _ in range(10)]
            del before, pieces[::2]
            held = torch.empty(100_000)
            del pieces, held
        found.append(peak.extra_bytes)
    assert found == [4 * 10 * 50_000] * 2
    with peak_of_tensors(torch.device("cpu")) as none:
        pass
    assert none.extra_bytes == 0


def test_a_machine_is_described_without_its_name() -> None:
    facts = describe_machine(torch.device("cpu"))
    assert facts.keys() == {"system", "architecture", "processor", "cores", "threads", "device", "python"}
    assert library_versions()["torch"] == torch.__version__
