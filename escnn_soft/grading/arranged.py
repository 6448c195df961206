"""How the blocks of a transform are multiplied: one by one, all of one shape at once, or by a matrix for all."""

from __future__ import annotations

from escnn_soft._lasting import lasting
from escnn_soft.grading.arrangement import Arrangement, OneByOne
from escnn_soft.grading.as_matrix import AsMatrix
from escnn_soft.grading.by_fields import ByFields
from escnn_soft.grading.factors import Factors
from escnn_soft.grading.together import Together

__all__ = ["arranged", "stacked"]

_SMALL = 2**20
"""Numbers of a weight up to which gathering them costs less than one call a block."""
_ROWS = 2**23
"""Numbers of the rows of all blocks up to which they are lined up: 32 MB, for all layers of a geometry."""
_SMALLEST = 512
"""Numbers of a weight up to which one matrix makes it of its coefficients."""
_FEW = 2**19
"""Products up to which one matrix makes all between two fields of its coefficients."""


@lasting()
def arranged(blocks: OneByOne) -> Arrangement:
    """The arrangement that takes the least time; of one kind for all bands of a transform.

    Args:
        blocks: the blocks, one by one.

    Returns:
        One matrix for the smallest weights, one between two fields for small fields of one kind, else as
        :func:`stacked`.
    """
    if _factored(blocks):
        return stacked(blocks)
    if _size(blocks) <= _SMALLEST:
        return AsMatrix(blocks)
    kinds_out, kinds_in = blocks.frame_out.kinds, blocks.frame_in.kinds
    if (
        len(kinds_out) == len(kinds_in) == 1
        and _size(blocks) * kinds_out[0][1] * kinds_in[0][1] * blocks.points <= _FEW
    ):
        return ByFields(blocks)
    return stacked(blocks)


@lasting()
def stacked(blocks: OneByOne) -> OneByOne | Together:
    """That which takes the least time among those whose units are blocks.

    Args:
        blocks: the blocks, one by one.

    Returns:
        All of one shape at once if the weight and the rows are small; in weights of more than some 4 MB, moving each
        number by itself would take longer than what a call a block costs.
    """
    rows = sum(block.basis.rows.numel() for block in blocks.blocks)
    return (
        blocks
        if _factored(blocks) or len(blocks.blocks) == 1 or _size(blocks) > _SMALL or rows > _ROWS
        else Together(blocks)
    )


def _factored(blocks: OneByOne) -> bool:
    return any(isinstance(block.rows, Factors) for block in blocks.blocks)


def _size(blocks: OneByOne) -> int:
    return blocks.frame_out.size * blocks.frame_in.size * blocks.points
