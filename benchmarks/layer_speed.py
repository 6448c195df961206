"""Claim: a soft convolution trains about as fast as escnn's own, and several times faster where escnn's basis is large.

Train step: forward, sum of squares, backward; relative to ``torch.nn.Conv2d`` (or ``Conv3d``) and to escnn's layer, at
batch 1 and 8. Evaluation: relative to the plain convolution. ``--quick`` leaves the slowest row out;
``--device cuda`` measures the same on a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _harness import print_setting, ratios, side_by_side
from escnn import gspaces
from escnn.nn import FieldType, GeometricTensor, R2Conv, R3Conv

from escnn_soft import Budget, SoftR2Conv, SoftR3Conv

SOFTNESS = {"0": 0.0, "0.3": 0.3, "1": 1.0, "Budget": Budget(0.1)}


@dataclass(frozen=True)
class Row:
    """A layer to measure.

    Attributes:
        name: in the table.
        field: of its input and output.
        kernel_size: of its kernel.
        size: of a side of the image.
        slow: whether a quick run leaves it out.
    """

    name: str
    field: FieldType
    kernel_size: int
    size: int = 32
    slow: bool = False

    @property
    def dims(self) -> int:
        """Of the image."""
        return int(self.field.gspace.dimensionality)


def regular(rotations: int, fields: int, kernel_size: int, *, flips: bool = False, slow: bool = False) -> Row:
    """Regular fields."""
    space = (gspaces.flipRot2dOnR2 if flips else gspaces.rot2dOnR2)(rotations)
    field = space.type(*[space.regular_repr] * fields)
    name = f"{'D' if flips else 'C'}{rotations}, {field.size} channels, k {kernel_size}"
    return Row(name, field, kernel_size, slow=slow)


def rows() -> list[Row]:
    """The layers."""
    d8, so3 = gspaces.flipRot2dOnR2(8), gspaces.rot3dOnR3(maximum_frequency=3)
    kinds = [d8.regular_repr] * 2 + [d8.irrep(1, 1)] * 8 + [d8.irrep(1, 2)] * 4 + [d8.trivial_repr] * 8
    mixed = d8.type(*kinds)
    vectors = so3.type(*[so3.irrep(i) for i in range(4)] * 2)
    return [
        regular(4, 4, 3),
        regular(8, 8, 3),
        regular(8, 8, 1),
        regular(8, 24, 5),
        regular(16, 24, 7, slow=True),
        regular(16, 2, 9, flips=True),
        Row(f"D8 mixed, {mixed.size} channels, k 5", mixed, 5),
        Row(f"SO(3) to frequency 3, {vectors.size} channels, k 3 in space", vectors, 3, size=8),
    ]


def train_step(layer: torch.nn.Module, x: torch.Tensor | GeometricTensor) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        for parameter in layer.parameters():
            parameter.grad = None
        y = layer(x)
        (y.tensor if isinstance(y, GeometricTensor) else y).square().sum().backward()

    return run


def evaluation(layer: torch.nn.Module, x: torch.Tensor | GeometricTensor) -> Callable[[], None]:
    """Forward in evaluation mode."""

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def measure(row: Row, repeats: int, device: torch.device) -> None:
    """Print one line a batch size."""
    geometry = {"kernel_size": row.kernel_size, "padding": row.kernel_size // 2}
    kinds = (torch.nn.Conv2d, R2Conv, SoftR2Conv) if row.dims == 2 else (torch.nn.Conv3d, R3Conv, SoftR3Conv)
    plain, hard, soft = kinds
    layers: dict[str, torch.nn.Module] = {"plain": plain(row.field.size, row.field.size, **geometry)}
    layers["hard"] = hard(row.field, row.field, **geometry, initialize=False)
    layers |= {s: soft(row.field, row.field, **geometry, softness=p, initialize=False) for s, p in SOFTNESS.items()}
    for name, layer in layers.items():
        layer.to(device)
        if name != "plain":
            for parameter in layer.parameters():
                torch.nn.init.normal_(parameter)
    for batch in (1, 8):
        x = torch.randn(batch, row.field.size, *[row.size] * row.dims, device=device)
        inputs = {name: x if name == "plain" else row.field(x) for name in layers}
        seconds = side_by_side({n: train_step(layer.train(), inputs[n]) for n, layer in layers.items()}, repeats)
        to_plain, to_hard = ratios(seconds, "plain"), ratios(seconds, "hard")
        both = {n: (layers[n].eval(), inputs[n]) for n in ("plain", "1")}
        kept = ratios(side_by_side({n: evaluation(*pair) for n, pair in both.items()}, 2 * repeats), "plain")
        cells = [f"{to_plain['hard']:5.2f}", *(f"{to_plain[s]:5.2f} /{to_hard[s]:5.2f}" for s in SOFTNESS)]
        print(f"  {row.name:<47}{batch:>3}  " + "   ".join([*cells, f"{kept['1']:.3f}"]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print_setting("Train step, float32, 32 x 32 pixels (8 x 8 x 8 in space)", options.threads, options.device)
    print("  Relative to the plain convolution, and behind the slash to escnn's layer; at the end evaluation.")
    heads = ["escnn", *(f"{f'softness {s}' if s[0].isdigit() else s:>12}" for s in SOFTNESS), "eval"]
    print(f"  {'layer':<45}batch  " + "   ".join(heads))
    for row in rows():
        if not (options.quick and row.slow):
            measure(row, options.repeats, options.device)


if __name__ == "__main__":
    main()
