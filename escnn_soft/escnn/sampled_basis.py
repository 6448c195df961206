"""escnn's sampled basis, made a layer's own and sharpened to the layer's precision.

escnn samples its bases in float32 and shares one module between all layers of the same types, so that ``.double()`` on
one layer changes the others and the double-precision filter is equivariant to 1e-7 only.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from escnn.group import Representation
from escnn.nn.modules.basismanager import BlocksBasisExpansion
from escnn.nn.modules.basismanager.basisexpansion_singleblock import SingleBlockBasisExpansion
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading import WeightTransform

__all__ = [
    "SampledBasis",
    "basis_coordinates",
    "block_name",
    "channel_slots",
    "has_closed_form",
    "own",
    "pair_blocks",
    "projected",
    "reach",
    "sharpen",
    "version_of",
]

SAMPLING_ROUNDING = 1e-5
"""Part of an element that counts as escnn's float32 rounding."""

_SHARP = 1e-11
"""Part of a sharpened element, in double precision, that counts as rounding."""

_REACHED = 1e-5
"""Singular value of a basis, as a fraction of the largest, that counts as 0: no weight may be large for nothing."""

_AT_ONCE = 64
"""Elements of a basis that are projected together."""

SampledBasis = BlocksBasisExpansion
"""escnn's module that expands a layer's weights into its kernel."""


def pair_blocks(expansion: BlocksBasisExpansion) -> Iterator[tuple[tuple[str, str], SingleBlockBasisExpansion]]:
    """The blocks of an expansion in the order of its weights, with the names of (input, output) representation."""
    for pair in expansion._representations_pairs:
        yield pair, getattr(expansion, block_name(expansion, pair))


def block_name(expansion: BlocksBasisExpansion, pair: tuple[str, str]) -> str:
    """Attribute under which an expansion keeps the block of a pair of representations."""
    return f"block_expansion_{expansion._escape_pair(pair)}"


class _OwnExpansion(BlocksBasisExpansion):
    """An empty one expands to zeros, where escnn fails."""

    def forward(self, weights: Tensor) -> Tensor:
        """The kernel, (out, in, S)."""
        if not self._representations_pairs:
            zero = weights.sum()  # of no weights: gradients find them
            return zero.expand(self._output_size, self._input_size, self.S)
        return super().forward(weights)


def own(expansion: BlocksBasisExpansion) -> BlocksBasisExpansion:
    """A copy whose modules are its own while its tensors are still shared: casting it leaves other layers alone.

    Its buffers are contiguous: escnn's index buffers can be expanded views, into which no checkpoint can be copied, and
    its bases are strided, which safetensors refuses.

    Args:
        expansion: escnn's expansion, shared by all layers of the same types.

    Returns:
        The layer's own expansion.
    """
    result = copy.copy(expansion)
    result.__class__ = _OwnExpansion
    result._buffers = {name: buffer.contiguous() for name, buffer in expansion._buffers.items()}
    result._modules = {}
    for name, value in vars(expansion).items():
        if name.startswith(("in_indices_", "out_indices_")):  # ranges, in tensors whose values torch.export cannot tell
            vars(result)[name] = [int(index) for index in value]
    for name, shared in expansion._modules.items():
        for found in ("_astray", "_strict_coefficients"):  # of this basis, for all layers
            vars(shared).setdefault(found, [])
        block = copy.copy(shared)
        block._buffers = {**shared._buffers, "sampled_basis": _contiguous(shared)}
        result._modules[name] = block
    return result


@lasting()
def _contiguous(shared: SingleBlockBasisExpansion) -> Tensor:
    """escnn's basis with contiguous memory, once for all layers; escnn's own keeps its strides, and so its rounding."""
    basis = shared.sampled_basis
    if basis.is_contiguous():
        return basis
    kept = vars(shared).get("_contiguous")
    if kept is None or kept[0] is not basis:
        kept = vars(shared)["_contiguous"] = basis, basis.contiguous()
    return kept[1]


def projected(project: Callable[[Tensor], Tensor], basis: Tensor) -> Tensor:
    """Each element of a basis projected: many at once, not so many that their copies would fill the memory."""
    result: Tensor = torch.vmap(project, chunk_size=_AT_ONCE)(basis)
    return result


def sharpen(block: SingleBlockBasisExpansion, transform: WeightTransform, precision: float) -> Tensor:
    """A block's elements (elements, out, in, S), projected onto what breaks nothing: less their rounding alone.

    Elements that differ by more are as escnn has them: where a ring misses the pixels it scales up what rounding has
    left there, and that breaks the symmetry.

    Args:
        block: escnn's elements between two representations.
        transform: the levels between these.
        precision: that of the lowest dtype that they have been in.

    Returns:
        The elements, in float64 on the CPU.
    """
    basis = block.sampled_basis.double().cpu()
    allowed = max(SAMPLING_ROUNDING, 4 * precision)
    symmetric = torch.tensor([float(level.symmetric) for level in transform.levels], dtype=torch.float64)
    for project in (lambda e: transform.synthesis(transform.analysis(e), symmetric), transform.equivariant.project):
        sharp = projected(project, basis)
        rounding = (sharp - basis).flatten(1).norm(dim=1) <= allowed * basis.flatten(1).norm(dim=1)
        basis = torch.where(rounding[:, None, None, None], sharp, basis)
    return basis


def leaves_its_level(block: SingleBlockBasisExpansion, transform: Callable[[], WeightTransform]) -> bool:
    """Whether a block's elements lie outside the equivariant level by more than single precision.

    Args:
        block: escnn's elements between two representations.
        transform: gives the levels between these, if they are needed.

    Returns:
        The answer, which is remembered for all layers with this tensor.
    """
    basis, found = block.sampled_basis, vars(block).setdefault("_astray", [])
    if not found or found[0] is not basis or found[1] != version_of(basis):
        level = transform().equivariant
        some = torch.arange(1, len(basis) + 1, dtype=torch.float64).cos()  # in general position
        parts = zip(some.split(_AT_ONCE), basis.split(_AT_ONCE), strict=True)
        kernel = torch.stack([torch.tensordot(a, part.double().cpu(), 1) for a, part in parts]).sum(0)
        kernel = kernel.reshape(level.shape)
        # in double precision single elements that differ by less have been sharpened
        allowed = _SHARP if basis.dtype == torch.float64 else SAMPLING_ROUNDING
        astray = bool((kernel - level.project(kernel)).norm() > allowed * kernel.norm())
        found[:] = basis, version_of(basis), astray
    return bool(found[2])


def version_of(basis: Tensor) -> int:
    """How often a basis was written to, as far as torch counts."""
    return 0 if basis.is_inference() else basis._version


def reach(expansion: BlocksBasisExpansion, blocks: dict[tuple[str, str], Tensor]) -> int:
    """Dimension of the kernels that a basis expands to, from elements as those of :func:`basis_coordinates`."""
    ranks = {pair: _rank(basis.flatten(1)) for pair, basis in blocks.items()}
    return sum(rank * expansion._in_count[pair[0]] * expansion._out_count[pair[1]] for pair, rank in ranks.items())


def _rank(rows: Tensor) -> int:
    """Rank, from squared singular values: a large basis would take minutes to decompose."""
    squares = torch.linalg.eigvalsh(rows @ rows.mT)
    return int((squares > _REACHED**2 * squares.amax()).sum()) if len(rows) else 0


def basis_coordinates(
    expansion: BlocksBasisExpansion,
    representations: tuple[Sequence[Representation], Sequence[Representation]],
    blocks: dict[tuple[str, str], Tensor],
    weight: Tensor,
) -> Tensor:
    """Least-squares weights of a kernel in escnn's basis.

    Args:
        expansion: the layer's basis expansion; fixes the order of the weights.
        representations: fields of the input and of the output.
        blocks: basis elements by names of (input, output) representation.  # each: (elements, out, in, S)
        weight: the kernel.  # shape: (out, in, S)

    Returns:
        One coordinate a weight.  # shape: (weights,)
    """
    in_slots, out_slots = (channel_slots(fields) for fields in representations)
    coordinates = []
    for pair, _ in pair_blocks(expansion):
        basis = blocks[pair]
        fields = weight[out_slots[pair[1]]][:, :, in_slots[pair[0]]]  # shape: (fields, out, fields, in, S)
        fields = fields.transpose(1, 2).reshape(-1, basis[0].numel())
        coordinates.append((fields @ torch.linalg.pinv(basis.flatten(1), rtol=_REACHED)).reshape(-1))
    return torch.cat([weight.new_zeros(0), *coordinates])


def channel_slots(representations: Sequence[Representation]) -> dict[str, Tensor]:
    """Channels of the fields of each representation, each (fields, size)."""
    slots: dict[str, list[Tensor]] = {}
    position = 0
    for rho in representations:
        slots.setdefault(rho.name, []).append(torch.arange(position, position + rho.size))
        position += rho.size
    return {name: torch.stack(channels) for name, channels in slots.items()}


def has_closed_form(rho: Representation) -> bool:
    """Whether a representation is a sum of irreps, reordered perhaps, or regular: no numeric coefficient is in it."""
    monomial = np.isclose(np.abs(rho.change_of_basis), 1).sum() == rho.size
    return bool(monomial) or re.fullmatch(r"regular(_\S*)?", rho.name) is not None
