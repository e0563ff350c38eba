"""Gradient fusion: the fused matrix does on each concept's inputs what that concept's own matrix does."""

import pytest
import torch
from torch import Tensor

from benchmarks.continual.gradient_fusion import Fusion, second_moment


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fuse(changes: list[Tensor], inputs: list[Tensor], ridge: float = 1e-8) -> Tensor:
    fusion = Fusion(len(changes[0]), changes[0].shape[1], torch.device("cpu"))
    for change, own in zip(changes, inputs, strict=True):
        fusion.add(change, second_moment(own))
    return fusion.solve(ridge)


def test_each_concept_keeps_its_outputs_on_its_own_inputs() -> None:
    changes, inputs = [drawn(6, 16, seed=i) for i in (0, 1)], [drawn(5, 16, seed=i) for i in (2, 3)]
    fused = fuse(changes, inputs)
    for change, own in zip(changes, inputs, strict=True):
        assert torch.allclose(own @ fused.T, own @ change.T, atol=1e-4)


def test_adding_up_does_not_keep_them() -> None:
    changes, inputs = [drawn(6, 16, seed=i) for i in (0, 1)], [drawn(5, 16, seed=i) for i in (2, 3)]
    total = changes[0] + changes[1]
    assert (inputs[0] @ total.T - inputs[0] @ changes[0].T).abs().mean() > 1


def test_inputs_that_no_concept_has_are_left_alone() -> None:
    change, own = drawn(6, 16, seed=0), drawn(5, 16, seed=1)
    fused = fuse([change], [own])
    other = drawn(1, 16, seed=2)
    other -= other @ torch.linalg.pinv(own) @ own  # what of it lies outside their span
    assert (other @ fused.T).abs().max() < 1e-4


def test_the_closed_form_is_where_lbfgs_runs_to() -> None:
    """More inputs than directions and concepts that disagree, so that nobody gets all that is wanted."""
    changes, inputs = [drawn(4, 8, seed=i) for i in (0, 1)], [drawn(20, 8, seed=i) for i in (2, 3)]
    weight = torch.zeros(4, 8, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, history_size=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        errors = [(own @ (weight - change).T).square().mean() for change, own in zip(changes, inputs, strict=True)]
        loss = torch.stack(errors).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    assert torch.allclose(fuse(changes, inputs), weight.detach(), atol=1e-3)


def test_a_ridge_holds_the_weights_back() -> None:
    change, own = drawn(6, 16, seed=0), drawn(5, 16, seed=1)
    assert fuse([change], [own], ridge=1.0).norm() < fuse([change], [own], ridge=1e-3).norm()


def test_nothing_to_fuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one concept"):
        Fusion(2, 2, torch.device("cpu")).solve(1e-4)
    with pytest.raises(ValueError, match="ridge above 0"):
        fuse([drawn(2, 2, seed=0)], [drawn(3, 2, seed=1)], ridge=0)
