"""A token moves where its gradient points, however small or large that is."""

import pytest
import torch
from torch import nn

from cns.adam import WholeVectorAdam

SCALES = torch.tensor([1e-4, 1e-2, 1.0])
"""How steep the slope is along each coordinate."""


def moved(scale: float, steps: int = 1) -> torch.Tensor:
    """Where a vector at nothing is after some steps down a slope of that steepness."""
    vector = nn.Parameter(torch.zeros(3))
    optimizer = WholeVectorAdam([vector], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (scale * SCALES * vector).sum().backward()
        optimizer.step()
    return vector.detach()


def test_the_first_step_has_the_direction_of_the_gradient_and_the_length_of_the_rate() -> None:
    step = moved(1.0)
    torch.testing.assert_close(step / step.norm(), -SCALES / SCALES.norm())
    assert step.square().mean().sqrt() == pytest.approx(0.1)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_how_steep_it_is_does_not_change_the_length_of_a_step(scale: float) -> None:
    torch.testing.assert_close(moved(scale, steps=5), moved(1.0, steps=5), rtol=1e-3, atol=1e-6)


def test_two_vectors_have_step_lengths_of_their_own() -> None:
    flat, steep = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2))
    optimizer = WholeVectorAdam([flat, steep], lr=0.1)
    (1e-3 * flat.sum() + 1e3 * steep.sum()).backward()
    optimizer.step()
    torch.testing.assert_close(flat.detach(), torch.full((4,), -0.1), rtol=1e-3, atol=0)
    torch.testing.assert_close(steep.detach(), torch.full((2,), -0.1), rtol=1e-3, atol=0)


def test_it_comes_to_rest_where_the_slope_ends() -> None:
    goal, vector = torch.tensor([1.0, -2.0, 0.5]), nn.Parameter(torch.zeros(3))
    optimizer = WholeVectorAdam([vector], lr=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        (SCALES.sqrt() * (vector - goal)).square().sum().backward()
        optimizer.step()
    assert abs(vector[2] - goal[2]) < 0.01


def test_a_vector_without_a_gradient_stays() -> None:
    vector = nn.Parameter(torch.ones(3))
    WholeVectorAdam([vector], lr=0.1).step()
    assert torch.equal(vector.detach(), torch.ones(3))
