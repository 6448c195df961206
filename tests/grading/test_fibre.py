"""Fibre maps of every group: the same basis as escnn's, complete, orthogonal, and stable."""

import pytest
import torch
from escnn.nn import Linear

from escnn_soft.grading import fibre_transform
from tests.cases import POINT, field_types, point
from tests.reference import fibre_action, principal_sine


@pytest.mark.parametrize("name", POINT)
def test_levels_are_escnns_complete_and_stable(name) -> None:
    space = point(name)
    for in_type, out_type in field_types(space)[1:]:
        if in_type.size * out_type.size > 700:
            continue  # the spans below are dense
        transform = fibre_transform(space, in_type.representations, out_type.representations)
        assert transform.dim == in_type.size * out_type.size
        expansion = Linear(in_type, out_type, initialize=False).basisexpansion
        escnns = torch.stack([expansion(w) for w in torch.eye(expansion.dimension())])
        ours = torch.stack(
            [transform.equivariant.synthesis(c) for c in torch.eye(transform.equivariant.dim, dtype=torch.float64)]
        )
        assert escnns.shape[0] == ours.shape[0]
        assert principal_sine(escnns, ours) < 1e-5

        matrix = torch.randn(transform.shape, dtype=torch.float64)
        assert (transform.project(matrix) - matrix).abs().max() < 1e-10
        assert transform.energies(matrix).sum().item() == pytest.approx(matrix.square().sum().item(), rel=1e-10)
        for i, level in enumerate(transform.levels):
            band = transform.band(i, i + 1)
            part = band.project(matrix)
            moved = fibre_action(space.fibergroup.sample(), part, in_type, out_type)
            assert (band.project(moved) - moved).abs().max() < 1e-10
            assert level.sigma > 0 or (moved - part).abs().max() < 1e-10


def test_tensor_products_changed_bases_and_direct_sums() -> None:
    from escnn.group import change_basis, directsum

    space = point("D4")
    g = space.fibergroup
    tensor = g.irrep(1, 1).tensor(g.regular_representation)
    q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0].numpy()
    turned = change_basis(directsum([g.irrep(1, 1), g.irrep(0, 2), g.irrep(1, 1)], name="sum"), q, name="turned")
    transform = fibre_transform(
        space, [tensor, turned], [turned, g.induced_representation((None, 2), g.subgroup((None, 2))[0].irrep(1))]
    )
    in_type = space.type(tensor, turned)
    out_type = space.type(turned, g.induced_representation((None, 2), g.subgroup((None, 2))[0].irrep(1)))
    matrix = torch.randn(transform.shape, dtype=torch.float64)
    assert (transform.project(matrix) - matrix).abs().max() < 1e-10
    strict = transform.equivariant.project(matrix)
    for e in g.elements:
        assert (fibre_action(e, strict, in_type, out_type) - strict).abs().max() < 1e-10
