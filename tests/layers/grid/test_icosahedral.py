"""escnn's icosahedral convolutions: the same basis, every dense kernel, and conforming layers."""

import pytest
import torch
from escnn import nn

import escnn_soft as es
from escnn_soft import SoftR3IcoConv, SoftR3IcoConvTransposed, certificate
from escnn_soft.errors import ArgumentError, BasisFilterError, GSpaceError
from tests.cases import spatial
from tests.disturbance import disturb
from tests.layers.grid.test_spatial_convolutions import Volumes
from tests.reference import principal_sine

ICO = spatial("icosahedral")
FIELD = ICO.type(ICO.irrep(1), ICO.trivial_repr)


class TestSoftR3IcoConv(Volumes):
    cutoffs = (0.0, 1.5)

    def make(self, softness):
        return SoftR3IcoConv(ICO.type(ICO.irrep(1)), ICO.type(ICO.trivial_repr), 3, padding=1, softness=softness)

    def hard(self, layer):
        hard = nn.R3IcoConv(layer.in_type, layer.out_type, 3, padding=1)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


class TestSoftR3IcoConvTransposed(Volumes):
    sides = (3, 2, 3)
    cutoffs = (0.0, 1.5)

    def make(self, softness):
        types = ICO.type(ICO.trivial_repr), ICO.type(ICO.irrep(1))
        return SoftR3IcoConvTransposed(*types, 3, stride=2, samples="dodeca", softness=softness)

    def hard(self, layer):
        hard = nn.R3IcoConvTransposed(layer.in_type, layer.out_type, 3, stride=2, samples="dodeca")
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


@pytest.mark.parametrize(
    ("samples", "kernel_size"), [("ico", 3), ("dodeca", 3), ("ico", 5), ("dodeca", 5), ("icosidodeca", 5)]
)
def test_equivariant_level_is_escnns_basis(samples, kernel_size) -> None:
    out = ICO.type(*ICO.fibergroup.irreps()) if kernel_size == 3 else ICO.type(ICO.trivial_repr, ICO.irrep(1))
    layer = SoftR3IcoConv(ICO.type(ICO.trivial_repr), out, kernel_size, samples=samples, initialize=False)
    escnns = layer.basisexpansion
    rows = torch.stack([escnns(w) for w in torch.eye(escnns.dimension())])
    equivariant = layer._transform.equivariant
    ours = torch.stack([equivariant.synthesis(c) for c in torch.eye(equivariant.dim, dtype=torch.float64)])
    assert principal_sine(rows, ours) < 1e-6
    kernel = torch.randn(layer._transform.shape, dtype=torch.float64)
    assert (layer._transform.synthesis(layer._transform.analysis(kernel)) - kernel).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["R3IcoConv", "R3IcoConvTransposed"])
def test_conversions_and_initialisation(kind) -> None:
    soft_class, hard_class = getattr(es, f"Soft{kind}"), getattr(nn, kind)
    torch.manual_seed(7)
    hard = hard_class(FIELD, FIELD, 3, padding=1, samples="dodeca")
    torch.manual_seed(7)
    assert torch.equal(soft_class(FIELD, FIELD, 3, padding=1, samples="dodeca").weights, hard.weights)
    soft = soft_class.from_hard(hard.eval(), softness=0.5)
    x = FIELD(torch.randn(1, 4, 4, 5, 4))
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-5
    assert certificate(hard).relative.sup < 1e-5
    disturb(soft, 1.0)
    plain = soft.export()
    assert (plain(x.tensor) - soft(x).tensor).abs().max() < 1e-5
    assert (soft_class.from_dense(plain, FIELD, FIELD)(x).tensor - plain(x.tensor)).abs().max() < 1e-4


def first_ring(attributes) -> bool:
    return attributes["radius"] == 0.0


def of_the_input(attributes) -> bool:
    return attributes["in_irrep"] == (0,)


def test_a_filter_on_rings() -> None:
    assert SoftR3IcoConv(FIELD, FIELD, 3, basis_filter=first_ring).weights.numel() == 2


OCTAHEDRAL = spatial("octahedral").type(spatial("octahedral").trivial_repr)
BAD = {
    "group": (lambda: SoftR3IcoConv(OCTAHEDRAL, OCTAHEDRAL, 3), GSpaceError, "icosahedral group but got .*SoftR3Conv for"),
    "samples": (lambda: SoftR3IcoConv(FIELD, FIELD, 3, samples="cube"), ArgumentError, "one of .*ico.* but got samples='cube'"),
    "filter": (lambda: SoftR3IcoConv(FIELD, FIELD, 3, basis_filter=of_the_input), BasisFilterError, "in_irrep"),
    "rings": (lambda: SoftR3IcoConvTransposed(FIELD, FIELD, 3, rings=[9.0]), ArgumentError, "rings="),
    "output padding": (lambda: SoftR3IcoConvTransposed(FIELD, FIELD, 3, output_padding=1), ArgumentError, "output_padding="),
    "cut-off": (
        lambda: SoftR3IcoConv.from_hard(nn.R3IcoConv(FIELD, FIELD, 3), frequencies_cutoff=2.0), ArgumentError, "no cut-off",
    ),
    "other class": (lambda: es.SoftR3Conv.from_hard(nn.R3IcoConv(FIELD, FIELD, 3)), ArgumentError, "Use SoftR3IcoConv"),
    "not a layer": (lambda: SoftR3IcoConv.from_hard(nn.R3Conv(FIELD, FIELD, 3)), ArgumentError, "an R3IcoConv but got"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_argument(name) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=f"(?s){message}"):
        call()
