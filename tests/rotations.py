"""What escnn computes of rotations again and again, for every product and comparison of elements, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


def remembered(convert: Callable[[Any, str], Rotation]) -> Callable[[Any, str], Rotation]:
    """The same function, which looks numbers up that it was given before, bit for bit; what it refuses it refuses."""
    known: dict[tuple[str, str, bytes], Rotation] = {}

    def converted(element: Any, param: str) -> Rotation:
        if not (isinstance(element, np.ndarray) and element.shape in ((4,), (3, 3))):
            return convert(element, param)
        key = param, f"{element.shape}{element.dtype.str}", element.tobytes()
        if key not in known:
            known[key] = convert(element, param)
        return known[key]

    return converted
