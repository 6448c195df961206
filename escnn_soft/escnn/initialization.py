"""First weights: escnn's generalised He initialisation, block by block, and its like for matrices under a dial."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import torch
from escnn.nn.modules.basismanager import BlocksBasisExpansion
from torch import Tensor

from escnn_soft.bounds import IrrepId
from escnn_soft.escnn.sampled_basis import pair_blocks
from escnn_soft.grading import WeightTransform

__all__ = ["generalized_he_deviations", "generalized_he_init", "variance_preserving"]


def generalized_he_deviations(expansion: BlocksBasisExpansion) -> Tensor:
    """Standard deviation of each weight: 1 / sqrt(input irreps that reach the output * basis elements from that irrep).

    The same numbers as ``escnn.nn.init``, which visits every weight (4.3 s for 64 C8-regular fields with k = 5); here
    the cost is that of one visit to the basis between each pair of representations.

    Source: Weiler and Cesa, General E(2)-Equivariant Steerable CNNs (arXiv 1911.08251), section 2.

    Args:
        expansion: escnn's basis expansion of a layer.

    Returns:
        One deviation a weight.  # shape: (weights,)
    """
    elements: dict[tuple[str, str], list[tuple[int, IrrepId]]] = {}  # (output irrep's place in its field, input irrep)
    reaching: dict[
        tuple[str, int], Counter[IrrepId]
    ] = {}  # elements that reach a place of an output field, by input irrep
    for pair, block in pair_blocks(expansion):
        elements[pair] = [(a["out_irrep_idx"], tuple(a["in_irrep"])) for a in block.get_basis_info()]
        for place, irrep in elements[pair]:
            reaching.setdefault((pair[1], place), Counter())[irrep] += expansion._in_count[pair[0]]

    deviations = []
    for pair, places in elements.items():
        counts = ((reaching[pair[1], place], irrep) for place, irrep in places)
        one = torch.tensor([1 / sqrt(len(counter) * counter[irrep]) for counter, irrep in counts])
        deviations.append(one.repeat(expansion._in_count[pair[0]] * expansion._out_count[pair[1]]))
    return torch.cat([torch.zeros(0), *deviations])


def generalized_he_init(weights: Tensor, expansion: BlocksBasisExpansion) -> None:
    """Draw a layer's weights in place, from the same random numbers as ``escnn.nn.init.generalized_he_init``."""
    with torch.no_grad():
        weights.copy_(generalized_he_deviations(expansion).to(weights) * torch.randn_like(weights))


def variance_preserving(transform: WeightTransform, gains: Tensor, normal: Tensor) -> Tensor:
    """An unfiltered matrix whose filtered one keeps the variance of white noise, from independent normal numbers.

    Equivariant directions have variance d_out / (in copies * directions), so that one copy of an irrep keeps its
    variance. The others have 1 / in, like those of a plain layer, before their gain; where the sum exceeds the input's
    variance it is scaled down to it.

    Args:
        transform: the levels, on the matrix's device in its dtype.
        gains: of all levels.  # shape: (levels,)
        normal: independent standard normal numbers.  # shape: (out, in)

    Returns:
        The matrix.  # shape: (out, in)
    """
    equivariant, columns = len(transform.equivariant.levels), len(transform.frame_in.irreps)
    pieces = transform.pieces(transform.analysis(normal))
    scaled: list[Tensor] = []
    for start in range(0, len(transform.blocks), columns):
        band = transform.blocks[start : start + columns]
        strict = [block.level < equivariant for block in band]
        reaching = sum(bool(mask.any()) for mask in strict)
        variances, energy = [], 0.0
        for block, mask in zip(band, strict, strict=True):
            _, d_out, copies_in, _ = block.copies
            own = d_out / max(reaching * copies_in * int(mask.sum()), 1)
            variances.append(torch.where(mask, own, 1 / transform.shape[1]).to(normal))
            energy += copies_in / d_out * float((variances[-1] * gains[block.level].square()).sum())
        factor = 1 / sqrt(max(energy, 1.0))
        parts = zip(pieces[start : start + columns], variances, strict=True)
        scaled += [(factor * variance.sqrt() * piece).flatten() for piece, variance in parts]
    return transform.synthesis(torch.cat(scaled))[:, :, 0]
