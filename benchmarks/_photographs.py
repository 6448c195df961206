"""scikit-image's photographs."""

import numpy as np
import torch
from skimage import color, data, transform
from torch import Tensor


def crops(names: tuple[str, ...], number: int, side: int, seed: int) -> Tensor:
    """Square crops of random place and of half to all of the shorter side.

    Args:
        names: of photographs that scikit-image carries; its others would be fetched.
        number: of crops of each.
        side: pixels along a side, to which a crop is resized.
        seed: of the places.

    Returns:
        Colours between 0 and 1.  # shape: (names * number, 3, side, side)
    """
    draw = np.random.default_rng(seed)
    found = []
    for name in names:
        photo = getattr(data, name)()
        photo = color.gray2rgb(photo) if photo.ndim == 2 else photo
        height, width = photo.shape[:2]
        for _ in range(number):
            size = int(draw.uniform(0.5, 1.0) * min(height, width))
            top, left = draw.integers(height - size + 1), draw.integers(width - size + 1)
            square = photo[top : top + size, left : left + size]
            found.append(transform.resize(square, (side, side), anti_aliasing=True).astype(np.float32))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)
