"""Lets torchvision from the package index be imported beside a CPU build of torch, for which it has no operators."""

import torch

__all__ = ["make_torchvision_importable"]

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_stub = []  # torch forgets the operators of a library that is collected


def make_torchvision_importable() -> None:
    """Declare the operators that torchvision looks for when it is imported, where its own library does not load.

    timm, lightning and some models of transformers import it; none of them calls these operators.
    """
    try:
        import torchvision as torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _MISSING:
            library.define(schema)
        _stub.append(library)
        import torchvision as torchvision
    except ImportError:
        pass  # whoever needs it says so
