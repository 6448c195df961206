"""Bases of large kernels as factors are those of small ones."""

import pickle

import pytest
import torch
from escnn import gspaces

from escnn_soft import SoftR2Conv
from escnn_soft.escnn import strict_coefficients
from escnn_soft.grading import kernel, kernel_space
from escnn_soft.grading.factors import Factors, dense, narrowed, times
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.transform import weight_transform
from escnn_soft.layers import SoftR3Conv

SPACES = {
    "C4": gspaces.rot2dOnR2(4),
    "C8": gspaces.rot2dOnR2(8),
    "D4": gspaces.flipRot2dOnR2(4),
    "O(2)": gspaces.flipRot2dOnR2(-1, 2),
    "octahedral": gspaces.octaOnR3(),
}


def fields(name: str):
    space = SPACES[name]
    group = space.fibergroup
    return [group.bl_regular_representation(1) if group.continuous else space.regular_repr, space.trivial_repr]


def both(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple:
    """The transform of kernels of 3 pixels a side, dense and by factors, in float64."""
    space = SPACES[name]
    field = space.type(*fields(name))
    layer = (SoftR2Conv if space.dimensionality == 2 else SoftR3Conv)(field, field, 3, softness=1.0, initialize=False)
    transform = layer._transform
    kept = next(s for s in KEPT if s.points == transform.points and s.group is transform.group)
    monkeypatch.setattr(kernel_space, "_LARGE", 1)
    copies = KernelSpace(kept.group, kept.copies, exact=kept.exact, dependent=kept.dependent)
    frame = ChannelFrame.of(copies.group, fields(name))
    return transform, weight_transform(frame, frame, copies)


KEPT: list[KernelSpace] = []


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the spaces that layers use, also those that layers of other tests have used."""
    kernel._space.cache_clear()
    weight_transform.cache_clear()
    between = KernelSpace._between

    def kept(self, *irreps):
        KEPT.append(self)
        return between(self, *irreps)

    monkeypatch.setattr(KernelSpace, "_between", kept)


@pytest.mark.parametrize("name", SPACES)
def test_factors_are_the_basis(name, monkeypatch) -> None:
    wanted, found = both(name, monkeypatch)
    assert [level.name for level in wanted.levels] == [level.name for level in found.levels]
    torch.manual_seed(0)
    for a, b in zip(wanted.blocks, found.blocks, strict=True):
        assert isinstance(b.rows, Factors)
        assert not isinstance(a.rows, Factors)
        assert a.rows.shape == b.rows.shape
        assert torch.equal(a.level, b.level)
        assert a.basis.levels == b.basis.levels
        for matrix, factors in ((a.rows, b.rows), (a.dual, b.dual), (a.rows.mT, b.rows.mT), (a.dual.mT, b.dual.mT)):
            assert (matrix - dense(factors)).abs().max() < 1e-10 * matrix.abs().max()
            x = torch.randn(5, len(matrix), dtype=torch.float64)
            assert (x @ matrix - times(x, factors)).abs().max() < 1e-9 * matrix.abs().max()
        span = slice(1, len(a.rows) // 2)
        assert (dense(narrowed(b.rows, span)) - a.rows[span]).abs().max() < 1e-10
        assert (dense(narrowed(b.dual, span, dim=1)) - a.dual[:, span]).abs().max() < 1e-9
        again = pickle.loads(pickle.dumps(b.rows))
        assert torch.equal(dense(again), dense(b.rows))


@pytest.mark.parametrize("name", SPACES)
def test_transforms_by_factors_are_transforms(name, monkeypatch) -> None:
    wanted, found = both(name, monkeypatch)
    torch.manual_seed(0)
    weight = torch.randn(wanted.shape, dtype=torch.float64)
    gains = torch.rand(len(wanted.levels), dtype=torch.float64)
    pairs = []
    for transform in (wanted, found):
        coefficients = transform.analysis(weight).requires_grad_()
        damping = gains.clone().requires_grad_()
        made = transform.synthesis(coefficients, damping)
        slopes = torch.autograd.grad((made * weight).sum(), (coefficients, damping))
        filtered = transform.multiplied(weight, gains, transform.multipliers(gains))
        strict = transform.equivariant.project(weight)
        energies = transform.energies(weight)
        single = transform.to(torch.device("cpu"), torch.float32).synthesis(coefficients.detach().float())
        pairs.append((coefficients, made, *slopes, filtered, strict, energies, single.double()))
    for a, b in zip(*pairs, strict=True):
        assert (a - b).abs().max() < (1e-4 if a.dtype == torch.float32 else 1e-6) * a.abs().max()
    for a, b in zip(pairs[0][:-1], pairs[1][:-1], strict=True):
        assert (a - b).abs().max() < 1e-10 * max(1.0, float(a.abs().max()))


@pytest.mark.parametrize("softness", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["C4", "C8"])
def test_large_kernels_are_layers(name, softness, monkeypatch) -> None:
    space = SPACES[name]
    field = space.type(space.regular_repr)
    layers = []
    for much in (strict_coefficients._MUCH, 0):  # by coefficients of escnn's elements, and by the elements
        monkeypatch.setattr(strict_coefficients, "_MUCH", much)
        torch.manual_seed(0)
        layers.append(SoftR2Conv(field, field, 13, softness=softness))
        torch.nn.init.normal_(layers[-1].soft_weights, std=0.1)
    if softness:
        assert layers[0]._strict is not None
        assert layers[1]._strict is None
    assert isinstance(layers[0]._transform.blocks[0].rows, Factors)
    kernels = [layer.expand_parameters()[0] for layer in layers]
    assert (kernels[0] - kernels[1]).abs().max() < 1e-5 * kernels[0].abs().max()
    layer = layers[0]
    x = field(torch.randn(1, field.size, 15, 15))
    assert (layer.eval()(x).tensor - layer.export()(x.tensor)).abs().max() < 1e-5


def test_factors_compile_to_one_graph() -> None:
    space = SPACES["C4"]
    layer = SoftR2Conv(space.type(space.trivial_repr), space.type(space.irrep(1)), 13, softness=0.3)
    kernel = layer.expand_parameters()[0]
    compiled = torch.compile(layer.expand_parameters, backend="eager", fullgraph=True)
    assert (compiled()[0] - kernel).abs().max() < 1e-5 * kernel.abs().max()
