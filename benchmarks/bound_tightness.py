"""Claim: the worst input found reaches most of ``operator``, the worst of some random elements 95 % of ``sup``.

Inputs by power iteration on x -> f(g x) - g f(x); random weights in all levels. 1 means that the bound is attained.
Padding that repeats the border (reflect, replicate) counts with the worst it could do, and is looser by half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from _harness import arguments, print_setting
from escnn import group, gspaces
from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.nn import FieldType

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.testing import assert_certificate_holds, randomize

GEOMETRIES: dict[str, dict[str, object]] = {
    "padding 1": {"padding": 1},
    "stride 2": {"padding": 1, "stride": 2},
    "dilation 2": {"padding": 2, "dilation": 2},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "replicate": {"padding": 1, "padding_mode": "replicate"},
}
PLANES = {
    "C2": lambda: gspaces.rot2dOnR2(2),
    "C4": lambda: gspaces.rot2dOnR2(4),
    "D4": lambda: gspaces.flipRot2dOnR2(4),
    "flip": gspaces.flip2dOnR2,
}
LIE = {
    "SO(2)": (lambda: group.so2_group(2), [(0,), (1,), (2,)]),
    "O(2)": (lambda: group.o2_group(2), [(0, 0), (1, 0), (1, 1), (1, 2)]),
    "SO(3)": (lambda: group.so3_group(2), [(0,), (1,), (2,)]),
    "O(3)": (lambda: group.o3_group(2), [(0, 0), (1, 1), (0, 2)]),
}  # group, ids of irreps
SAMPLES = 2000


def types(space: GSpace, fields: Sequence[Representation]) -> tuple[FieldType, FieldType]:
    return space.type(*fields), space.type(*fields)


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("Tightness of certificates, float64, 3 x 3 kernels", options.threads)
    print("  largest error found / operator bound\n  " + " " * 8 + "".join(f"{name:>12}" for name in GEOMETRIES))
    for name, plane in PLANES.items():
        space, row = plane(), []
        for geometry in GEOMETRIES.values():
            layer = SoftR2Conv(*types(space, [space.regular_repr] * 2), 3, softness=1.0, **geometry)
            randomize(layer)
            x = torch.randn(2, layer.in_type.size, 21, 21, dtype=torch.float64)
            row.append(assert_certificate_holds(layer.double(), x).tightness)
        print(f"  {name:8}" + "".join(f"{value:12.2f}" for value in row))
    print(f"\n  largest error among {SAMPLES} random elements / sup")
    for name, (make, irreps) in LIE.items():
        space = gspaces.no_base_space(make())
        layer = SoftLinear(*types(space, [space.irrep(*irrep) for irrep in irreps]), softness=1.0)
        randomize(layer)
        certificate = layer.double().certificate()
        found = max(certificate.at(space.fibergroup.sample()) for _ in range(SAMPLES))
        print(f"  {name:8}{found / certificate.sup:12.3f}")


if __name__ == "__main__":
    main()
