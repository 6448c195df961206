"""Convolutions in space conform, and agree with escnn in every geometry."""

import pytest
import torch
from escnn import nn

from escnn_soft import SoftR3Conv, SoftR3ConvTransposed, certificate
from escnn_soft.testing.certificates import assert_certificate_holds
from escnn_soft.testing.conformance import ConformanceSuite
from escnn_soft.testing.probes import Probe, dense_kernel
from tests.cases import SPATIAL, small_types, spatial
from tests.disturbance import disturb

FIELD = spatial("octahedral").type(*[spatial("octahedral").irrep(1), spatial("octahedral").trivial_repr] * 2)
VOLUME = torch.randn(2, FIELD.size, 5, 4, 6)


class Volumes(ConformanceSuite):
    """Reading a kernel off from impulses takes long in space: once, in a test of its own."""

    sides = (5, 3, 4)

    def dense(self, layer):
        """Kernels (out, in, ...), groups filled up with zeros."""
        kernel = layer._as_graded(layer.expand_parameters()[0].detach())
        kernel = kernel.unflatten(2, (layer.kernel_size,) * 3)
        blocks = kernel.chunk(layer.groups, dim=1 if hasattr(layer, "output_padding") else 0)
        full = kernel.new_zeros(layer.out_type.size, layer.in_type.size, *kernel.shape[2:])
        rows, columns = blocks[0].shape[:2]
        for i, block in enumerate(blocks):
            full[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
        return full

    def test_impulses_show_the_dense_kernel(self):
        layer = self.trained(1.0)
        assert (dense_kernel(Probe(layer)) - self.dense(layer)).abs().max() < 1e-12


class TestSoftR3Conv(Volumes):
    def make(self, softness):
        s = spatial("octahedral")
        return SoftR3Conv(s.type(s.irrep(1)), s.type(s.trivial_repr), 3, padding=1, softness=softness)

    def hard(self, layer):
        hard = nn.R3Conv(layer.in_type, layer.out_type, 3, padding=1)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


class TestSoftR3ConvOfSO3(TestSoftR3Conv):
    cutoffs = (0.0, 1.5)

    def make(self, softness):
        s = spatial("SO(3)")
        return SoftR3Conv(s.type(s.trivial_repr), s.type(s.irrep(1)), 3, padding=1, softness=softness)


class TestSoftR3ConvOfACone(TestSoftR3Conv):
    def make(self, softness):
        s = spatial("cone")
        return SoftR3Conv(s.type(s.irrep(1, 1)), s.type(s.trivial_repr), 3, padding=1, softness=softness)


class TestStridedSoftR3Conv(Volumes):
    sides = (5, 4, 6)

    def make(self, softness):
        s = spatial("axial C4")
        fields = s.type(*[s.irrep(1)] * 2)
        return SoftR3Conv(fields, fields, 2, stride=2, padding=1, groups=2, bias=False, softness=softness, **BROAD)


BROAD = {"rings": [0.8], "sigma": [0.4]}  # escnn's default rings miss every voxel of a kernel of even size


class TestSoftR3ConvTransposed(Volumes):
    sides = (3, 2, 3)

    def make(self, softness):
        s = spatial("cone D4")
        fields = s.type(s.trivial_repr), s.type(s.trivial_repr, s.irrep(1, 1))
        return SoftR3ConvTransposed(*fields, 3, stride=2, padding=1, softness=softness)

    def hard(self, layer):
        hard = nn.R3ConvTransposed(layer.in_type, layer.out_type, 3, stride=2, padding=1)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


GEOMETRIES = [
    {"stride": 2},
    {"stride": (1, 2, 1)},
    {"dilation": 2, "padding": 2},
    {"groups": 2},
    {"padding": (1, 2, 0), "bias": False},
    {"kernel_size": 5, "frequencies_cutoff": 1.0},
    *({"padding_mode": mode, "padding": (2, 1, 0)} for mode in ("reflect", "replicate", "circular")),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "-".join(g))
def test_geometry_agrees_with_escnn_export_and_shape(geometry) -> None:
    hard = nn.R3Conv(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry}).eval()
    unstored = {k: v for k, v in geometry.items() if k == "frequencies_cutoff"}
    soft = SoftR3Conv.from_hard(hard, **unstored)
    x = FIELD(VOLUME)
    assert soft.weights is hard.weights
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-5
    disturb(soft, 1.0)
    soft.softness = 0.7
    trained = soft(x).tensor
    assert (trained - hard(x).tensor).abs().max() > 1e-3
    assert tuple(trained.shape) == soft.evaluate_output_shape(tuple(VOLUME.shape))
    plain = soft.export()
    assert (plain(VOLUME) - trained).abs().max() < 1e-5
    again = SoftR3Conv.from_dense(plain, FIELD, FIELD)
    assert (again(x).tensor - trained).abs().max() < 1e-4


@pytest.mark.parametrize("geometry", [{"stride": 2, "output_padding": (0, 1, 0)}, {"groups": 2}], ids=str)
def test_transposed_geometry_agrees(geometry) -> None:
    hard = nn.R3ConvTransposed(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry}).eval()
    soft = SoftR3ConvTransposed.from_hard(hard)
    x = FIELD(VOLUME)
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-5
    disturb(soft, 1.0)
    soft.softness = 0.7
    assert tuple(soft(x).tensor.shape) == soft.evaluate_output_shape(tuple(VOLUME.shape))
    plain = soft.export()
    assert (plain(VOLUME) - soft(x).tensor).abs().max() < 1e-5
    assert (SoftR3ConvTransposed.from_dense(plain, FIELD, FIELD)(x).tensor - plain(VOLUME)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["R3Conv", "R3ConvTransposed"])
def test_initialisation_is_escnns_number_for_number(kind) -> None:
    soft = {"R3Conv": SoftR3Conv, "R3ConvTransposed": SoftR3ConvTransposed}[kind]
    torch.manual_seed(7)
    hard = getattr(nn, kind)(FIELD, FIELD, 3)
    torch.manual_seed(7)
    assert torch.equal(hard.weights, soft(FIELD, FIELD, 3).weights)


@pytest.mark.parametrize("name", SPATIAL)
def test_every_group_softens_certifies_and_hardens(name) -> None:
    """Softness 0 is exact on the voxels, in float64; the certificate's levels follow the group."""
    in_type, out_type = small_types(spatial(name))
    layer = SoftR3Conv(in_type, out_type, 3, padding=1, softness=0.0).double()
    assert layer.certificate().relative.sup < 1e-9
    disturb(layer, 1.0)
    layer.softness = 0.5
    certified = layer.certificate()
    assert certified.level == ("grid" if layer._transform.exact else "continuous")
    if certified.grid is not None:
        assert certified.grid.sup > 0 or len(certified.grid.elements) == 1
    kernel = layer.expand_parameters()[0]
    bound = layer.spectrum()
    if layer._transform.exact:
        assert bound.energy == pytest.approx(kernel.square().sum().item())


@pytest.mark.parametrize(
    "geometry", [{"stride": (1, 2, 2)}, {"padding_mode": "circular"}, {"groups": 2, "dilation": 2}], ids=str
)
def test_certificates_hold(geometry) -> None:
    s = spatial("octahedral")
    field = s.type(s.irrep(1), s.irrep(1))
    layer = SoftR3Conv(field, field, 3, softness=0.5, **{"padding": 1, **geometry}).double()
    disturb(layer, 1.0)
    report = assert_certificate_holds(layer, elements=list(s.fibergroup.elements)[::5])
    assert report.checked
    assert report.tightness > 0.3


def test_certificates_of_plain_and_hard_layers() -> None:
    s = spatial("octahedral")
    field = s.type(s.irrep(1), s.trivial_repr)
    assert certificate(nn.R3Conv(field, field, 3)).relative.sup < 1e-5
    assert certificate(nn.R3ConvTransposed(field, field, 3, stride=2)).relative.sup < 1e-5
    layer = SoftR3ConvTransposed(field, field, 3, stride=2, softness=0.5)
    disturb(layer, 1.0)
    exported = certificate(layer.export(), field, field)
    assert exported.sup == pytest.approx(layer.certificate().sup, rel=1e-5)
    assert layer.certificate().refusal(s.fibergroup.elements[3], (1, 4, 3, 3, 3)) is None


@pytest.mark.parametrize("name", ["octahedral", "axial"])
def test_check_equivariance_passes_strict_layers_and_fails_soft_ones(name) -> None:
    s = spatial(name)
    field = s.type(s.trivial_repr, s.irrep(1))
    layer = SoftR3Conv(field, field, 3, padding=1)
    assert all(error < 0.1 for _, error in layer.check_equivariance())
    layer.softness = 1.0
    disturb(layer, 1.0)
    with pytest.raises(AssertionError, match="the error is up to"):
        layer.check_equivariance()
