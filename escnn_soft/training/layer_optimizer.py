"""What optimisers that know layers have in common: their groups, their state, their step."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from escnn_soft._checks import number
from escnn_soft.errors import ArgumentError, shown
from escnn_soft.training.layer_moments import LayerPlan, layerwise_step
from escnn_soft.training.layer_parameters import LayerParameters, layer_group

__all__ = ["LayerOptimizer", "is_share"]

_REMEDY = "Pass the model, or groups from layer_group(part, lr=...); layers=() for parameters that belong to none."
_LARGEST = 1e300


class LayerOptimizer(Optimizer):
    """An optimiser of torch's that knows which parameters make up a layer.

    Args:
        model: a model, or parameter groups from :func:`layer_group`.
        defaults: options of the groups.
    """

    def __init__(self, model: Module | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self._layers: list[tuple[LayerParameters, ...]] = []
        self._plans: dict[tuple[Any, ...], list[LayerPlan]] = {}
        super().__init__([layer_group(model)] if isinstance(model, Module) else _groups(model), defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group from :func:`layer_group`.

        Args:
            param_group: a dictionary with ``params``, ``layers`` and options.

        Raises:
            ArgumentError: if it does not say which parameters make up a layer, or a layer is split among groups.
        """
        if not isinstance(param_group, dict) or "layers" not in param_group:
            got = sorted(param_group) if isinstance(param_group, dict) else param_group
            raise ArgumentError("param_group", got, "a parameter group with its layers", _REMEDY)
        self._check({**self.defaults, **param_group})
        layers = tuple(param_group["layers"])
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        group = {key: value for key, value in param_group.items() if key != "layers"}
        inside = {id(p) for p in params}
        for layer in layers:
            if any(id(p) not in inside for p in layer.all):
                expected = f"all parameters of the layer {shown(layer.name)} in one group"
                raise ArgumentError("params", params, expected, _REMEDY)
        super().add_param_group({**group, "params": params})
        self._layers.append(layers)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients, if given.

        Returns:
            What the closure returns, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for index, (group, layers) in enumerate(zip(self.param_groups, self._layers, strict=True)):
                _check_gradients(group["params"])
                self._update(index, group, layers)
        return loss

    def _check(self, options: dict[str, Any]) -> None:
        """Refuse options of a group outside their domain."""
        check_options(options)

    @abstractmethod
    def _update(self, index: int, group: dict[str, Any], layers: Sequence[LayerParameters]) -> None:
        """Move the parameters of one group."""

    def _layerwise(
        self,
        index: int,
        group: dict[str, Any],
        layers: Sequence[LayerParameters],
        moves: Callable[[Parameter], bool],
    ) -> None:
        """Count all of the layers' gradients in their second moments, and move the parameters for which it says so."""
        key = index, tuple(p.grad is None for layer in layers for p in layer.all)
        if key not in self._plans:
            self._plans = {k: plan for k, plan in self._plans.items() if k[0] != index}
            places: defaultdict[object, list[LayerParameters]] = defaultdict(list)
            for layer in layers:
                if any(p.grad is not None for p in layer.all):
                    places[layer.all[0].device].append(layer)
            self._plans[key] = [LayerPlan.of(members, moves) for members in places.values()]
        for plan in self._plans[key]:
            layerwise_step(plan, self.state, group)

    # ------------------------------------------------------------------ state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, in single precision at least, whatever the parameters are in.

        Args:
            state_dict: from ``state_dict()``.
        """
        super().load_state_dict(state_dict)  # which rounds every state to the dtype of its parameter
        saved = [key for group in state_dict["param_groups"] for key in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for key, p in zip(saved, parameters, strict=True):
            dtype, state = torch.promote_types(p.dtype, torch.float32), self.state.get(p, {})
            for name in [name for name, value in state.items() if name != "step" and value.dtype != dtype]:
                state[name] = state_dict["state"][key][name].to(p.device, dtype, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: torch's part, and the layers."""
        return {**super().__getstate__(), "_layers": self._layers, "_plans": {}}


def _groups(groups: object) -> list[dict[str, Any]]:
    """Groups as a list; parameters without groups are refused one by one."""
    if isinstance(groups, dict):
        return [groups]
    if not isinstance(groups, Iterable) or isinstance(groups, Tensor):
        raise ArgumentError("model", groups, "a model or parameter groups", _REMEDY)
    found = list(groups)
    if not found:
        raise ArgumentError("model", found, "at least one parameter group", _REMEDY)
    for group in found:
        if not isinstance(group, dict):
            raise ArgumentError("model", found, "a model or parameter groups", _REMEDY)
    return found


def check_options(options: dict[str, Any]) -> None:
    """Refuse options of a group outside their domain; a learning rate may be a tensor."""
    for name in ("lr", "eps", "weight_decay", "layer_rate"):
        if not isinstance(options[name], Tensor):
            remedy = f"Pass {name} as a finite number, 0 or more."
            number(name, options[name], minimum=0.0, maximum=_LARGEST, error=ArgumentError, remedy=remedy)
    betas = options["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(map(is_share, betas)):
        raise ArgumentError(
            "betas", betas, "two numbers in [0, 1)", "They are the shares of the past in running means."
        )


def is_share(value: object) -> bool:
    """Whether a value is a number in [0, 1)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _check_gradients(parameters: Sequence[Parameter]) -> None:
    if any(p.grad is not None and p.grad.is_sparse for p in parameters):
        remedy = "Use dense gradients, or torch.optim.SparseAdam for that parameter."
        raise ArgumentError("gradient", "sparse", "dense gradients", remedy)
