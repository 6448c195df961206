"""Products with a constant tensor: linear maps, matrix products and einsum, each as one contraction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import ascii_letters

import torch
from torch import Tensor

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.tensor_action import Action
from escnn_soft.linalg import spectral_norm

__all__ = ["contracted", "linear", "multiplied"]


@dataclass(frozen=True, eq=False)
class _Contraction:
    """out[...] = sum of x[...] * constant[...], each index by its letter.

    Attributes:
        x: letters of the activation.
        constant: of the constant.
        out: of the result.
    """

    x: str
    constant: str
    out: str

    def norm(self, x: Tensor, constant: Tensor) -> tuple[float, float]:
        """The norm of the map of one sample, and that with |constant| in the place of the constant."""
        # a matrix for each value of the letters that all three have; what only the activation has is summed up
        sizes = dict(zip(self.x, x.shape, strict=True))
        kept = [c for c in self.constant if c in self.out or c in self.x]
        matrix = torch.einsum(f"{self.constant}->{''.join(kept)}", constant.detach().double().cpu())
        absolute = torch.einsum(f"{self.constant}->{''.join(kept)}", constant.detach().double().cpu().abs())
        batch = [c for c in kept if c in self.x and c in self.out]
        rows = [c for c in kept if c not in self.x]
        columns = [c for c in kept if c in self.x and c not in self.out]
        order = [kept.index(c) for c in (*batch, *rows, *columns)]
        shape = [math.prod(matrix.shape[kept.index(c)] for c in group) for group in (batch, rows, columns)]
        summed = math.prod(sizes[c] for c in self.x if c not in self.out and c not in self.constant)
        norms = [float(spectral_norm(m.permute(order).reshape(shape)).max()) for m in (matrix, absolute)]
        return norms[0] * math.sqrt(summed), norms[1] * math.sqrt(summed)

    def terms(self, x: Tensor, constant: Tensor) -> int:
        """How many products are added up in one number of the result."""
        sizes = dict(zip(self.x + self.constant, (*x.shape, *constant.shape), strict=True))
        return math.prod(size for c, size in sizes.items() if c not in self.out)


def linear(operation: Operation) -> Outcome | str:
    """x -> x W^T + b along the last dimension."""
    weight, bias = operation.argument(1, "weight"), operation.argument(2, "bias")
    x = operation.tracked[0]
    if not (bias is None or operation.constants(bias)):
        return "torch.linear with a weight or bias that is no parameter, buffer or function of them"
    if not isinstance(weight, Tensor) or weight.ndim != 2 or operation.argument(0, "input") is not x or x.ndim < 2:
        return "torch.linear in this form"
    free = ascii_letters[: x.ndim - 1]
    return _outcome(operation, _Contraction(f"{free}y", "zy", f"{free}z"), weight)


def multiplied(operation: Operation) -> Outcome | str:
    """x @ M and M @ x, with a matrix or vector that is constant."""
    first = operation.argument(0, "input")
    other = operation.argument(1, "other", operation.kwargs.get("mat2"))
    x = operation.tracked[0]
    ahead = (first is x) != (operation.name == "__rmatmul__")
    constant = other if first is x else first
    if not isinstance(constant, Tensor) or constant.ndim not in (1, 2) or x.ndim < (2 if ahead else 3):
        return f"torch.{operation.name}, except of an activation of every sample and one matrix or vector"
    kept = "z" if constant.ndim == 2 else ""
    if ahead:
        free = ascii_letters[: x.ndim - 1]
        return _outcome(operation, _Contraction(f"{free}y", f"y{kept}", f"{free}{kept}"), constant)
    free = ascii_letters[: x.ndim - 2]
    return _outcome(operation, _Contraction(f"{free}yw", f"{kept}y", f"{free}{kept}w"), constant)


def contracted(operation: Operation) -> Outcome | str:
    """einsum of an activation and a constant, or of an activation alone."""
    equation, *operands = operation.args
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = list(operands[0])
    if not isinstance(equation, str) or "->" not in equation:
        return "torch.einsum without a written result"
    if len(operands) > 2 or len(operation.tracked) > 1:
        return "torch.einsum of more than one activation and one constant"
    x = operation.tracked[0]
    inputs, out = equation.replace(" ", "").split("->")
    letters = dict(zip(("x", "constant") if operands[0] is x else ("constant", "x"), inputs.split(","), strict=False))
    constant = next((operand for operand in operands if operand is not x), x.new_ones(()))
    spelled = _spelled(letters["x"], letters.get("constant", ""), out, x.ndim)
    if spelled is None:
        return "torch.einsum that repeats a letter, or with dots in a constant"
    return _outcome(operation, spelled, constant, alone=len(operands) == 1)


def _spelled(x: str, constant: str, out: str, ndim: int) -> _Contraction | None:
    """The contraction with letters in the place of the dots."""
    spare = "".join(c for c in ascii_letters if c not in x + constant + out)
    dots = spare[: ndim - len(x.replace("...", ""))]
    if "." in constant:
        return None
    x, out = x.replace("...", dots), out.replace("...", dots)
    if any(len(set(names)) < len(names) for names in (x, constant, out)):
        return None
    return _Contraction(x, constant, out)


def _outcome(
    operation: Operation, contraction: _Contraction, constant: Tensor, *, alone: bool = False
) -> Outcome | str:
    x, name = operation.tracked[0], operation.name
    if not alone and not operation.constants(constant):
        return f"torch.{name} with a tensor that is no parameter, buffer or function of them"
    if contraction.out[:1] != contraction.x[0] or contraction.x[0] in contraction.constant:
        return f"torch.{name} mixes the samples of the batch"
    action = _action(operation, contraction)
    if isinstance(action, str):
        return action
    norm, absolute = contraction.norm(x, constant)
    ratio = max(1.0, absolute / norm) if norm > 0 else 1.0
    return Outcome((norm,), action, (contraction.terms(x, constant) + 4.0) * ratio)


def _action(operation: Operation, contraction: _Contraction) -> Action | str:
    """How the group acts on the result, or why that is no action."""
    still = Action(operation.action.elements, None, pixels=False)
    if operation.still:
        return still
    action = _moved_action(operation, contraction)
    return still if isinstance(action, str) and operation.invariant else action


def _moved_action(operation: Operation, contraction: _Contraction) -> Action | str:
    """As above, where something moves, which may not be contracted."""
    action = operation.action
    refused = f"torch.{operation.name} of a field that the group moves"
    channels, pixels = contraction.x[1], contraction.x[2:] if action.pixels else ""
    untouched = channels in contraction.out[1:2] and channels not in contraction.constant
    if contraction.out[2:] != contraction.x[2:] or any(c in contraction.constant for c in pixels):
        return refused
    if untouched:
        return action
    if not action.fixes_channels():
        return f"{refused}: its channels are mixed"
    assert action.type is not None
    space = action.type.gspace
    return Action(action.elements, space.type(*[space.trivial_repr] * operation.result.shape[1]), action.pixels)
