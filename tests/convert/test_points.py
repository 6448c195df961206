"""Models with convolutions over points: soften, harden, and what they keep."""

from __future__ import annotations

import pytest
import torch
from escnn import nn

import escnn_soft as es
from escnn_soft import SoftR2PointConv, harden, set_softness, soft_status, soften
from escnn_soft.testing import randomize
from tests.cases import planar

SPACE = planar("D3")
FIELD = SPACE.type(SPACE.regular_repr, SPACE.trivial_repr)
COORDS = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
X = FIELD(torch.randn(8, FIELD.size, generator=torch.Generator().manual_seed(1)), COORDS)
EDGES = torch.randint(8, (2, 24), generator=torch.Generator().manual_seed(2))


class Network(torch.nn.Module):
    """Two layers with band limits that escnn does not store, one of which is no cut-off."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.R2PointConv(FIELD, FIELD, width=2.0, n_rings=3, frequencies_cutoff=2.0)
        self.second = nn.R2PointConv(
            FIELD, FIELD, rings=[0.0, 1.0], sigma=0.5, basis_filter=lambda a: a["irrep:frequency"] != 1
        )
        randomize(self)

    def forward(self):
        return self.second(self.first(X, EDGES), EDGES).tensor


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("inplace", [True, False])
def test_there_and_back(inplace, train) -> None:
    model = Network().train(train)
    expected = model().detach()
    tolerance = 1e-5 * float(expected.abs().max())
    soft = soften(model, 0.5, inplace=inplace)
    assert [status.kind for status in soft_status(soft).layers] == ["SoftR2PointConv"] * 2
    assert (soft() - expected).abs().max() < tolerance
    randomize(soft)
    set_softness(soft, 0.0)
    strict = soft().detach()
    set_softness(soft, 0.5)
    assert (soft() - strict).abs().max() > 1e-3
    weights = soft.first.weights
    hard = harden(soft, inplace=inplace)
    assert type(hard.first) is nn.R2PointConv
    assert hard.first.weights is weights
    for _ in range(2):  # escnn's own changes of mode
        assert (hard() - strict).abs().max() < 1e-5 * float(strict.abs().max())
        hard.train(not hard.training)
    assert isinstance(soften(hard, 0.1).second, SoftR2PointConv)


def test_certificate_of_a_layer() -> None:
    layer = SoftR2PointConv(FIELD, FIELD, width=2.0, n_rings=3, softness=0.5)
    assert es.certificate(layer).level == "points"
