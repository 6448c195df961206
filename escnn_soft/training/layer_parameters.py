"""Which parameters belong to one layer, and so share a scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._checks import instance
from escnn_soft.dial import Dial, SoftModule
from escnn_soft.layers import SoftLayer, filtered_tensors

__all__ = ["LayerParameters", "layer_group", "layer_parameters"]


@dataclass(frozen=True, eq=False)
class LayerParameters:
    """The parameters of one layer with a softness.

    Attributes:
        name: of the layer in its model.
        weights: what its kernel is made of: escnn's coefficients and the soft ones, or the dense weight.
        biases: likewise its bias.
        strict: those of them that only reach what is equivariant, escnn's own.
        matrices: those of the weights that are a dense matrix or kernel by themselves, (out, in, ...), and their dials.
        layers: soft layers of escnn's, whose kernels the other weights make up.
    """

    name: str
    weights: tuple[Parameter, ...]
    biases: tuple[Parameter, ...]
    strict: tuple[Parameter, ...] = ()
    matrices: tuple[tuple[Parameter, Dial], ...] = ()
    layers: tuple[SoftLayer, ...] = ()

    @property
    def all(self) -> tuple[Parameter, ...]:
        """Every parameter, weights first."""
        return self.weights + self.biases


def layer_group(model: Module, **options: Any) -> dict[str, Any]:
    """A parameter group of a model or a part of it, for the optimisers of this package.

    Args:
        model: any module; its layers with a softness are found as ``dials`` finds them.
        options: of the group, such as ``lr``; the optimiser's own where left out.

    Returns:
        A group: all parameters, frozen ones too, as ``params``, and ``layers``, which of them belong together.

    Raises:
        ArgumentError: if the model is no module.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> model = torch.nn.ModuleDict({"body": SoftR2Conv(field, field, 3), "head": torch.nn.Linear(4, 10)})
        >>> body, head = layer_group(model["body"], lr=1e-4), layer_group(model["head"], lr=1e-3)
        >>> [len(group["params"]) for group in (body, head)], [len(group["layers"]) for group in (body, head)]
        ([4, 2], [1, 0])
    """
    instance("model", model, Module, "Pass a model, or the part of it that the group is for.")
    return {"params": list(model.parameters()), "layers": layer_parameters(model), **options}


def layer_parameters(model: Module) -> tuple[LayerParameters, ...]:
    """Every layer of a model with a softness, in the order of ``named_modules``.

    Layers that share a parameter share a scale too, and are listed as one.

    Args:
        model: any module.

    Returns:
        Their parameters; no parameter is in two of them.
    """
    found: list[LayerParameters] = []
    for layer in _own(model):
        shared = [other for other in found if _ids(other.all) & _ids(layer.all)]
        found = [*(other for other in found if other not in shared), _joined([*shared, layer])]
    return tuple(found)


def _own(model: Module) -> Iterator[LayerParameters]:
    """Each layer by itself."""
    for name, module in model.named_modules():
        if isinstance(module, SoftModule):
            yield _of_soft_module(name, module)
        else:
            yield from _of_filtered(name, module)


def _of_soft_module(name: str, module: SoftModule) -> LayerParameters:
    named = {key: p for key, p in module.named_parameters() if not key.endswith("level_logits")}
    biases = {key: p for key, p in named.items() if _is_bias(key)}
    weights = {key: p for key, p in named.items() if key not in biases}
    if isinstance(module, SoftLayer):
        strict = tuple(p for key, p in named.items() if "soft_" not in key)
        return LayerParameters(name, tuple(weights.values()), tuple(biases.values()), strict, layers=(module,))
    matrices = tuple((p, module._dials[0]) for p in weights.values() if p.dim() > 1)
    return LayerParameters(name, tuple(weights.values()), tuple(biases.values()), matrices=matrices)


def _of_filtered(name: str, module: Module) -> Iterator[LayerParameters]:
    """The tensors of a plain module that go through a filter; its bias belongs to its weight, filtered or not."""
    tensors = {tensor.tensor: tensor.filter.dial for tensor in filtered_tensors(module)}
    bias = _originals(module, "bias")
    for tensor, dial in sorted(tensors.items(), key=lambda item: (item[0] != "weight", item[0])):
        originals = _originals(module, tensor)
        if tensor == "bias":
            if "weight" not in tensors:
                yield LayerParameters(name, originals, ())
            continue
        plain = tensor.endswith("weight") and len(originals) == 1 and originals[0].dim() > 1
        matrices = ((originals[0], dial),) if plain else ()
        yield LayerParameters(name, originals, bias if tensor == "weight" else (), matrices=matrices)


def _originals(module: Module, tensor: str) -> tuple[Parameter, ...]:
    """The parameters that one of a module's tensors is computed from."""
    if is_parametrized(module, tensor):
        parametrizations: Any = module.parametrizations
        originals = tuple(parametrizations[tensor].parameters(recurse=False))
        if originals:
            return originals
    value = dict(module.named_parameters(recurse=False)).get(tensor)  # also of a scripted module
    return () if value is None else (value,)


def _is_bias(key: str) -> bool:
    """Whether a parameter's name is that of a bias, pruned and parametrised ones included."""
    return any(part.removesuffix("_orig").endswith("bias") for part in key.split("."))


def _joined(layers: Iterable[LayerParameters]) -> LayerParameters:
    first, *others = layers
    for other in others:
        parts: dict[str, Any] = {
            part: _unique((*getattr(first, part), *getattr(other, part)))
            for part in ("weights", "biases", "strict", "layers")
        }
        matrices = _unique((*first.matrices, *other.matrices), key=lambda matrix: id(matrix[0]))
        first = replace(first, **parts, matrices=matrices)
    return replace(first, biases=tuple(p for p in first.biases if id(p) not in _ids(first.weights)))


def _unique(items: Iterable[Any], key: Callable[[Any], int] = id) -> tuple[Any, ...]:
    return tuple({key(item): item for item in items}.values())


def _ids(parameters: Iterable[Parameter]) -> set[int]:
    return {id(p) for p in parameters}
