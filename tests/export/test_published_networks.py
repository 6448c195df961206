"""escnn's published networks, softened: written in every format, and compiled to one graph."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from escnn.nn import EquivariantModule
from torch import Tensor

from escnn_soft import soften
from escnn_soft.export import PROGRAMS, save_program
from tests.disturbance import disturb
from tests.published_networks import PUBLISHED

TOLERANCE = 1e-5
SMALL = ("introduction", "octahedral CNN")
"""Those that torch.export takes as they are, layers and all, in a few seconds."""


@pytest.fixture(params=PUBLISHED)
def network(request) -> tuple[torch.nn.Module, Tensor]:
    """A softened network, its soft parts not zero, and inputs."""
    return built(request.param)


@cache
def built(name: str) -> tuple[torch.nn.Module, Tensor]:
    torch.manual_seed(0)
    published = PUBLISHED[name]()
    return disturb(soften(published.model, 0.1)).eval(), torch.randn(3, *published.shape)


class Tensors(torch.nn.Module):
    """A network from tensors to tensors, whether it takes a field or not."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(self.network.in_type(x) if isinstance(self.network, EquivariantModule) else x)
        return y if isinstance(y, Tensor) else y.tensor


@pytest.mark.parametrize("to", PROGRAMS)
def test_a_published_network_is_written(network, to, tmp_path) -> None:
    model, x = network
    assert save_program(model, x, tmp_path / "network", to) < TOLERANCE


def test_a_published_network_compiles_to_one_graph(network) -> None:
    model, x = Tensors(network[0]), network[1]
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = model(x)
        assert (compiled(x) - expected).abs().max() < TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("train", [True, False])
def test_torch_export_takes_soft_layers_as_they_are(name, train) -> None:
    network, x = built(name)
    model = Tensors(network).train(train)
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model, (x,), dynamic_shapes=batch).module()
    with torch.no_grad():
        for part in (x, x[:2]):
            expected = model(part)
            assert (program(part) - expected).abs().max() < TOLERANCE * expected.abs().max()
