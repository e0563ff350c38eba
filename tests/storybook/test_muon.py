"""The optimiser of the training stages does what its papers say."""

import torch
from torch import nn

from storybook.muon import muon_for, orthogonalize


def test_updates_are_made_nearly_orthogonal_whatever_their_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 24, 60), (2, 60, 24), (1, 32, 32)):
        made = orthogonalize(torch.randn(shape, generator=generator)).float()
        values = torch.linalg.svdvals(made)
        assert made.shape == shape
        assert values.min() > 0.3
        assert values.max() < 1.4


def test_an_update_of_a_matrix_is_as_large_as_adams_would_be() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(200, 100, bias=False)
    before = layer.weight.detach().clone()
    optimizer = muon_for(layer, rate=0.01, outer=())
    layer.weight.grad = torch.randn(100, 200)
    optimizer.step()
    moved = (layer.weight.detach() - before).square().mean().sqrt()
    assert 0.1 * 0.01 < moved < 0.4 * 0.01


def test_a_network_of_every_kind_of_parameter_learns() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )
    inputs, wanted = torch.randn(32, 3, 8, 8), torch.randn(32, 2)
    optimizer = muon_for(module, rate=0.01, outer=("0.", "5."))
    losses = []
    for _ in range(60):
        loss = (module(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert len(optimizer.param_groups[0]["params"]) == 1, "only the hidden convolution is a matrix here"
