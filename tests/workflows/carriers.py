"""One small model with each kind of softness; their checkpoints are kept, version by version.

``python -m tests.workflows.carriers FILE`` writes what the version that runs has: states and outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from escnn import group, gspaces
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.parametrize import is_parametrized

import escnn_soft as es
from escnn_soft.groups import orthogonal_group, vector

WEIGHED = es.Exponential(0.5)
"""What 0.5 meant in version 0.1."""


def _on_the_plane(space: Any, *representations: Any, kind: Any = es.SoftR2Conv, softness: Any = WEIGHED) -> Module:
    field = space.type(*representations)
    return kind(field, field, 3, softness=softness)


def _regular(space: Any, **arguments: Any) -> Module:
    return _on_the_plane(space, space.regular_repr, space.trivial_repr, **arguments)


def _in_space(space: Any, kind: Any = es.SoftR3Conv, **arguments: Any) -> Module:
    field = space.type(space.trivial_repr, next(psi for psi in space.fibergroup.irreps() if psi.size == 3))
    return kind(field, field, 3, softness=WEIGHED, **arguments)


def _linear(g: Any, *representations: Any, softness: Any = WEIGHED) -> Module:
    field = gspaces.no_base_space(g).type(*representations)
    return es.SoftLinear(field, field, softness=softness)


def _quadratic(space: Any) -> Module:
    field = space.type(space.regular_repr)
    return es.SoftTensorProduct(field, field, softness=WEIGHED)


def _filtered(space: Any, *, fields: bool, softness: Any = WEIGHED) -> Module:
    conv = torch.nn.Conv2d(space.fibergroup.order(), space.fibergroup.order(), 3)
    types: dict[str, Any] = {}
    if fields:
        field = space.type(space.regular_repr)
        types = {"field_types": {"0": (field, field)}}
    return es.soften(torch.nn.Sequential(conv), softness, gspace=space, **types)


C4, C8 = (gspaces.rot2dOnR2(n) for n in (4, 8))
D3, D4, D6 = (gspaces.flipRot2dOnR2(n) for n in (3, 4, 6))
SO3, O3 = group.so3_group(2), group.o3_group(2)
OCTA = group.octa_group()
V = vector(orthogonal_group(3))

CARRIERS: dict[str, Callable[[], Module]] = {
    "R2Conv C4": lambda: _regular(C4),
    "R2Conv C8": lambda: _on_the_plane(C8, C8.irrep(0), C8.irrep(1), C8.irrep(3)),
    "R2Conv D4": lambda: _regular(D4),
    "R2Conv D6": lambda: _on_the_plane(D6, D6.irrep(1, 1), D6.irrep(1, 2)),
    "R2Conv SO(2)": lambda: _on_the_plane(s := gspaces.rot2dOnR2(-1, maximum_frequency=2), s.irrep(0), s.irrep(1)),
    "R2Conv O(2)": lambda: _on_the_plane(
        s := gspaces.flipRot2dOnR2(-1, maximum_frequency=2), s.irrep(0, 0), s.irrep(1, 1), s.irrep(1, 2)
    ),
    "R2Conv C4 learned": lambda: _regular(C4, softness=es.Learned()),
    "R2Conv D4 budget": lambda: _on_the_plane(D4, D4.irrep(1, 1), D4.irrep(1, 0), softness=es.Budget(0.1)),
    "R2Conv C4 cutoff": lambda: _regular(C4, softness=es.Cutoff(1.0)),
    "R2ConvTransposed D4": lambda: _on_the_plane(D4, D4.irrep(1, 1), D4.irrep(1, 0), kind=es.SoftR2ConvTransposed),
    "R3Conv SO(3)": lambda: _in_space(gspaces.rot3dOnR3(2)),
    "R3Conv O(3)": lambda: _in_space(gspaces.flipRot3dOnR3(2)),
    "R3Conv octahedral": lambda: _in_space(gspaces.octaOnR3()),
    "R3ConvTransposed octahedral": lambda: _in_space(gspaces.octaOnR3(), es.SoftR3ConvTransposed),
    "R3IcoConv": lambda: _in_space(gspaces.icoOnR3(), es.SoftR3IcoConv, samples="ico"),
    "R3IcoConvTransposed": lambda: _in_space(gspaces.icoOnR3(), es.SoftR3IcoConvTransposed, samples="ico"),
    "Linear C8": lambda: _linear(g := group.cyclic_group(8), g.regular_representation),
    "Linear D4": lambda: _linear(g := group.dihedral_group(4), g.regular_representation, g.irrep(1, 1)),
    "Linear O(2)": lambda: _linear(g := group.o2_group(2), g.irrep(0, 0), g.irrep(1, 1), g.irrep(1, 2)),
    "Linear SO(3)": lambda: _linear(SO3, SO3.irrep(0), SO3.irrep(1), SO3.irrep(2)),
    "Linear O(3)": lambda: _linear(O3, O3.irrep(0, 0), O3.irrep(1, 1), O3.irrep(1, 2)),
    "Linear SO(3) product": lambda: _linear(SO3, SO3.irrep(1).tensor(SO3.irrep(1)), SO3.irrep(1)),
    "Linear octahedral": lambda: _linear(OCTA, OCTA.irrep(1), OCTA.irrep(2)),
    "TensorProduct C4": lambda: _quadratic(C4),
    "TensorProduct D3": lambda: _quadratic(D3),
    "MatrixLinear": lambda: es.SoftMatrixLinear(2 * V, V**2 + V, softness=WEIGHED),
    "MatrixBilinear": lambda: es.SoftMatrixBilinear(2 * V, V, factors=2 * V, softness=WEIGHED),
    "filter C4": lambda: _filtered(C4, fields=False),
    "filter C4 fields": lambda: _filtered(C4, fields=True),
    "filter C8": lambda: _filtered(C8, fields=False),
    "filter C8 fields": lambda: _filtered(C8, fields=True),
    "filter D4 budget": lambda: _filtered(D4, fields=True, softness=es.Budget(0.1)),
    "filter C4 learned": lambda: _filtered(C4, fields=False, softness=es.Learned()),
}


def filled(model: Module) -> Module:
    """The model with numbers in every parameter that have no symmetry of their own."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner, _, tensor = name.rpartition(".")
            filtered = is_parametrized(model.get_submodule(owner), tensor)
            own = f"{owner}.parametrizations.{tensor}.original" if filtered else name  # as it was called in version 0.1
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(0.5 * torch.cos(steps + len(own)).view(parameter.shape))
    return model


def output(model: Module) -> Tensor:
    """What the model makes of fixed numbers."""
    in_type: Any = getattr(model, "in_type", None)
    parameter = next(model.parameters())
    if in_type is None:
        into: Any = getattr(model, "in_representation", None)
        shape = [1, model.get_submodule("0").in_channels, 4, 4] if into is None else [2, into.size]
    else:
        shape = [1, in_type.size, *[4] * in_type.gspace.dimensionality]
    steps = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    x = torch.sin(3 * steps + 1).view(shape).to(parameter)
    with torch.no_grad():
        y = model(x) if in_type is None else model(in_type(x))
    return y if isinstance(y, Tensor) else y.tensor


def main(path: str, *names: str) -> None:
    """Write the checkpoints of the version that runs, of some of the carriers or of all."""
    kept = {}
    for name in names or CARRIERS:
        model = filled(CARRIERS[name]()).eval()
        values = output(model)
        kept[name] = {"state": model.state_dict(), "output": values}
    torch.save(kept, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
