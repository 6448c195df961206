"""Running a network once while noting, for each tensor, how the group acts on it and how far off it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from escnn.nn import GeometricTensor, MergeModule
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.layerwise import pass_layer, pass_operation
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import fields, tensor_of, with_fields
from escnn_soft.certification.operation import Operation
from escnn_soft.certification.operations import METADATA, operate
from escnn_soft.certification.rule_registry import ACTIONS, LIPSCHITZ, by_class
from escnn_soft.certification.rules import RULES, Call, Rule
from escnn_soft.certification.rules.registered import Registered
from escnn_soft.errors import EscnnSoftError
from escnn_soft.escnn.stored_arguments import merged_labels

__all__ = ["Trace"]


class Trace(TorchFunctionMode):
    """Follows the activations of a network through its modules, and through torch's functions between them.

    A module that a rule covers is one step, whatever it does inside; any other module is covered through its parts. A
    function without a rule makes its result, and whatever is computed from it, not covered.

    Args:
        model: the network.
        ledger: where to note.
        start: what is known of the input.
        lookahead: through how many further layers a layer's error is followed; None if nothing may be measured.
    """

    def __init__(self, model: nn.Module, ledger: Ledger, start: Fact, *, lookahead: int | None) -> None:
        super().__init__()
        self.model, self.ledger, self.start, self.lookahead = model, ledger, start, lookahead
        self.constants = {id(t) for t in (*model.parameters(), *model.buffers())}
        self._facts: dict[int, tuple[Tensor, int, Fact]] = {}
        self._path: list[str] = [type(model).__name__]
        self._busy = False

    # ------------------------------------------------------------------ what is known of tensors

    def learn(self, tensor: Tensor, fact: Fact) -> None:
        """Remember what is known of a tensor as it is now."""
        self._facts[id(tensor)] = (tensor, tensor._version, fact)

    def fact(self, tensor: Tensor) -> Fact | None:
        """What is known of a tensor; None for one that is not computed from the input in a way that was followed."""
        if id(tensor) not in self._facts:
            return None
        _, version, fact = self._facts[id(tensor)]
        if tensor._version != version:
            return self._void(fact, "an activation was changed in place")
        return fact

    def _void(self, fact: Fact, reason: str) -> Fact:
        return Fact(fact.action, {}, fact.lipschitz, fact.gaps or ((self._path[-1], reason),))

    # ------------------------------------------------------------------ modules

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Everything the network does in this context is followed."""
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                stack.enter_context(self._replaced(module, self._step(name or type(module).__name__, module)))
            stack.enter_context(self)
            yield

    @contextmanager
    def _replaced(self, module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
        before = vars(module).get("forward")
        object.__setattr__(module, "forward", forward)
        try:
            yield
        finally:
            if before is None:
                object.__delattr__(module, "forward")
            else:
                object.__setattr__(module, "forward", before)

    def _step(self, name: str, module: nn.Module) -> Callable[..., Any]:
        original, rule = module.forward, _rule(module)
        if type(module).forward is MergeModule.forward and "forward" not in vars(module):
            original = partial(_merge, module)

        @wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return original(*args, **kwargs)
            self._path.append(name)
            try:
                if rule is None:
                    return original(*args, **kwargs)
                return self._leaf(name, module, rule, original, args, kwargs)
            finally:
                self._path.pop()

        return forward

    def _leaf(
        self, name: str, module: nn.Module, rule: Rule, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        given = list(fields(args, kwargs))
        facts = [self.fact(tensor_of(x)) for x in given]
        self._busy = True
        try:
            known = [fact for fact in facts if fact is not None]
            gaps = _merged(fact.gaps for fact in known)
            if len(known) < len(facts) or not known:
                gaps += ((name, "its input was not followed from the network's input"),)
            gaps += tuple((name, reason) for x, f in zip(given, facts, strict=True) if (reason := _mismatch(x, f)))
            if gaps:
                result = forward(*args, **kwargs)
                for out in fields(result):
                    self.learn(tensor_of(out), Fact(self.start.action, {}, self.start.lipschitz, gaps))
                return result
            actions = tuple(
                fact.action.retyped(x.type) if isinstance(x, GeometricTensor) else fact.action
                for x, fact in zip(given, known, strict=True)
            )
            copies = [tensor_of(x).clone() for x in given]
            result = forward(*args, **kwargs)
            outs = list(fields(result))
            gaps = _merged(((name, why),) for out in outs if (why := _unfit(tensor_of(out), copies)) is not None)
            if gaps or not outs:
                for out in outs:
                    self.learn(tensor_of(out), Fact(self.start.action, {}, self.start.lipschitz, gaps))
                return result
            types = tuple(x.type if isinstance(x, GeometricTensor) else None for x in given)
            call = Call(module, tuple(copies), types, actions, tensor_of(outs[0]))

            def again(tensors: list[Tensor]) -> list[Tensor]:
                moved = iter(tensors)
                new_args, new_kwargs = with_fields(args, moved), with_fields(kwargs, moved)
                return [tensor_of(out) for out in fields(forward(*new_args, **new_kwargs))]

            run = None if self.lookahead is None else again
            try:
                learned = pass_layer(self.ledger, name, rule, call, known, outs, run, self.lookahead or 0)
            except EscnnSoftError as error:
                learned = [Fact(known[0].action, {}, known[0].lipschitz, ((name, str(error)),)) for _ in outs]
            for out, fact in zip(outs, learned, strict=True):
                self.learn(tensor_of(out), fact)
            return result
        finally:
            self._busy = False

    # ------------------------------------------------------------------ functions between modules

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        tracked = [t for t in fields(args, kwargs) if isinstance(t, Tensor) and id(t) in self._facts]
        if not tracked:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]  # a wrapper that is made anew each time
            self.ledger.escapes[self._path[-1], "it takes .data, through which activations change unseen"] = None
        facts = [fact for fact in map(self.fact, tracked) if fact is not None]
        before = [sample_norms(t) if t.is_floating_point() and t.ndim else torch.zeros(0) for t in tracked]
        result = func(*args, **kwargs)
        outs = [out for out in fields((result,)) if isinstance(out, Tensor)]
        if name == "__setitem__":
            outs = [args[0]]
        elif not outs:
            if name not in METADATA and name != "__get__":
                reason = f"it reads values of an activation (torch.{name}), on which the rest may depend"
                self.ledger.escapes[self._path[-1], reason] = None
            return result
        for out in outs:
            self.learn(out, self._result(name, args, kwargs, tracked, facts, before, out))
        return result

    def _result(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tracked: list[Tensor],
        facts: list[Fact],
        before: list[Tensor],
        out: Tensor,
    ) -> Fact:
        layer = self._path[-1]
        gaps = _merged(fact.gaps for fact in facts)
        if gaps:
            return Fact(facts[0].action, {}, facts[0].lipschitz, gaps)
        name = name if name.startswith("__") else name.rstrip("_")
        outcome = operate(Operation(name, args, kwargs, tracked, facts, out, lambda t: id(t) in self.constants))
        reason = outcome if isinstance(outcome, str) else _unfit(out, tracked)
        if reason is not None or isinstance(outcome, str):
            return self._void(facts[0], str(reason))
        return pass_operation(self.ledger, f"{layer} (torch.{name})", facts, outcome, before, out)


def _rule(module: nn.Module) -> Rule | None:
    lipschitz = by_class(LIPSCHITZ, module)
    if lipschitz is not None:
        return Registered(lipschitz, by_class(ACTIONS, module))
    make = by_class(RULES, module)
    return None if make is None else make()


def _merge(module: Any, inputs: dict[str, GeometricTensor]) -> GeometricTensor:
    """What escnn's ``MergeModule`` computes, with a concatenation that can be followed."""
    parts = [
        getattr(module, f"submodule_{i}")(*[inputs[label] for label in labels])
        for i, labels in enumerate(merged_labels(module))
    ]
    # escnn fills a tensor in single precision
    joined = torch.cat([part.tensor for part in parts], dim=1).float()
    return GeometricTensor(joined, module.out_type, parts[0].coords)


def _mismatch(x: GeometricTensor | Tensor, fact: Fact | None) -> str | None:
    """Why a field is not what the network's input was followed to."""
    if tensor_of(x).ndim < 2:
        return "its input has no dimension beside that of the samples"
    if fact is None or not isinstance(x, GeometricTensor):
        return None
    if x.coords is not None:
        return "point clouds with coordinates are not covered"
    if not fact.action.agrees(x.type):
        return "its input was given a field type that transforms differently from what was computed"
    return None


def _unfit(out: Tensor, given: Sequence[Tensor]) -> str | None:
    """Why a tensor that was computed from others cannot be followed, whatever the rule says."""
    if out.ndim == 0 or len(out) != len(given[0]):
        return "it mixes the samples of the batch"
    if out.dtype == torch.float16 and any(x.dtype != torch.float16 for x in given):
        return "it casts to float16, where small numbers vanish"
    return None if bool(torch.isfinite(out).all()) else "it returns infinities or NaN"


def _merged(gaps: Iterable[tuple[tuple[str, str], ...]]) -> tuple[tuple[str, str], ...]:
    """All gaps, each once."""
    return tuple(dict.fromkeys(gap for some in gaps for gap in some))
