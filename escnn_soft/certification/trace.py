"""Running a network once while noting, for each tensor, how the group acts on it and how far off it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from escnn.nn import EquivariantModule, FieldType, GeometricTensor, MergeModule
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.known_errors import Again
from escnn_soft.certification.layerwise import pass_layer, pass_operation
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import fields, tensor_of, with_fields
from escnn_soft.certification.network_constants import NetworkConstants
from escnn_soft.certification.obstacles import merged, mismatch, unfit
from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.operations import METADATA, layer_of, operate
from escnn_soft.certification.rule_registry import ACTIONS, LIPSCHITZ, by_class
from escnn_soft.certification.rules import RULES, Call, Rule
from escnn_soft.certification.rules.registered import Registered
from escnn_soft.certification.script import Step, noted
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

    Attributes:
        constants: the network's parameters, buffers and plain tensors, as they were.
        script: the calls with activations, with all other arguments.
    """

    def __init__(self, model: nn.Module, ledger: Ledger, start: Fact, *, lookahead: int | None) -> None:
        super().__init__()
        self.model, self.ledger, self.start, self.lookahead = model, ledger, start, lookahead
        self.constants = NetworkConstants(model)
        self.script: list[Step] = []
        self._facts: dict[int, tuple[Tensor, int, Fact]] = {}
        self._path: list[str] = [type(model).__name__]
        self._around: list[nn.Module] = []
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

    def _note(self, name: str, args: Any, kwargs: Any) -> None:
        self.script.append(noted(self._path[-1], name, args, kwargs, self._facts))

    def _check_constants(self, name: str, module: nn.Module) -> None:
        """Note if a tensor of a layer was written since the network began."""
        written = self.constants.written(module)
        if written is not None:
            self.ledger.escapes[name, f"{written} was written while the model ran"] = None

    # ------------------------------------------------------------------ modules

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Everything the network does in this context is followed."""
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                if isinstance(module, ScriptModule):  # no function of Python's, and so not covered
                    continue
                label = ".".join(part for part in name.split(".") if part != "_orig_mod")  # what torch.compile wraps
                stack.enter_context(self._replaced(module, self._step(label or type(module).__name__, module)))
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
                if rule is not None:
                    self._note(name, args, {**kwargs, "settings": _settings(module)})
                    self._check_constants(name, module)
                    return self._leaf(name, module, rule, original, args, kwargs)
                self._around.append(module)
                try:
                    result = original(*args, **kwargs)
                finally:
                    self._around.pop()
                if isinstance(module, ParametrizationList) and not args:
                    self.constants.keep(result)  # a filter may have kept it from before
                return result
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
            gaps = merged(fact.gaps for fact in known)
            if len(known) < len(facts) or not known:
                gaps += ((name, "its input was not followed from the network's input"),)
            gaps += tuple((name, reason) for x, f in zip(given, facts, strict=True) if (reason := mismatch(x, f)))
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
            gaps = merged(((name, why),) for out in outs if (why := unfit(tensor_of(out), copies)) is not None)
            if gaps or not outs:
                for out in outs:
                    self.learn(tensor_of(out), Fact(self.start.action, {}, self.start.lipschitz, gaps))
                return result
            types = tuple(x.type if isinstance(x, GeometricTensor) else None for x in given)
            call = Call(module, tuple(copies), types, actions, tensor_of(outs[0]), self._declared())

            def again(tensors: list[Tensor]) -> list[Tensor]:
                moved = iter(tensors)
                new_args, new_kwargs = with_fields(args, moved), with_fields(kwargs, moved)
                return [tensor_of(out) for out in fields(forward(*new_args, **new_kwargs))]

            for out, fact in zip(outs, self._passed(name, rule, call, known, outs, again), strict=True):
                self.learn(tensor_of(out), fact)
            return result
        finally:
            self._busy = False

    def _passed(
        self,
        name: str,
        rule: Rule,
        call: Call,
        known: list[Fact],
        outs: Sequence[GeometricTensor | Tensor],
        again: Again,
    ) -> list[Fact]:
        """What is known of the outputs of a layer that a rule covers."""
        run = None if self.lookahead is None else again
        try:
            return pass_layer(self.ledger, name, rule.at(call), call, known, outs, run, self.lookahead or 0)
        except EscnnSoftError as error:
            return [Fact(known[0].action, {}, known[0].lipschitz, ((name, str(error)),)) for _ in outs]

    def _declared(self) -> FieldType | None:
        """Type of the output of the innermost module of escnn's kind that is covered through its parts."""
        around = [module for module in self._around if isinstance(module, EquivariantModule)]
        declared = getattr(around[-1], "out_type", None) if around else None
        return declared if isinstance(declared, FieldType) else None

    # ------------------------------------------------------------------ functions between modules

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        tracked = [t for t in fields(args, kwargs) if isinstance(t, Tensor) and id(t) in self._facts]
        if not tracked:
            result = func(*args, **kwargs)
            self.constants.keep_computed(result, args, kwargs)
            return result
        name = getattr(func, "__name__", str(func))
        if name not in METADATA and name != "__get__":
            self._note(name, args, kwargs)
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]  # a wrapper that is made anew each time
            self.ledger.escapes[self._path[-1], "it takes .data, through which activations change unseen"] = None
        facts = [fact for fact in map(self.fact, tracked) if fact is not None]
        before = [t.clone() for t in tracked]
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
            self.learn(out, self._result(func, name, args, kwargs, tracked, facts, before, out))
        return result

    def _result(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tracked: list[Tensor],
        facts: list[Fact],
        before: list[Tensor],
        out: Tensor,
    ) -> Fact:
        layer = self._path[-1]
        gaps = merged(fact.gaps for fact in facts)
        if gaps:
            return Fact(facts[0].action, {}, facts[0].lipschitz, gaps)
        name = name if name.startswith("__") else name.rstrip("_")
        operation = Operation(name, args, kwargs, tracked, facts, out, self.constants.__contains__)
        known = layer_of(operation) or operate(operation)
        reason = known if isinstance(known, str) else unfit(out, before)
        if reason is not None or isinstance(known, str):
            return self._void(facts[0], str(reason))
        label = f"{layer} (torch.{name})"
        if isinstance(known, Outcome):
            norms = [sample_norms(t) for t in before]
            return pass_operation(self.ledger, label, facts, known, norms, out)
        call = Call(known.module, (before[0],), (None,), (facts[0].action,), out, self._declared())

        def again(tensors: list[Tensor]) -> list[Tensor]:
            given = list(fields(args, kwargs))
            moved = iter([tensors[0] if t is tracked[0] else t for t in given])
            return [func(*with_fields(args, moved), **with_fields(kwargs, moved))]

        return self._passed(label, known.rule, call, facts, [out], again)[0]


def _rule(module: nn.Module) -> Rule | None:
    lipschitz = by_class(LIPSCHITZ, module)
    if lipschitz is not None:
        return Registered(lipschitz, by_class(ACTIONS, module))
    make = by_class(RULES, module)
    return None if make is None else make()


def _settings(module: nn.Module) -> list[Any]:
    """What a layer holds: numbers, words and tensors, which a model may change on the way."""
    plain = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)}
    return [plain, *module.parameters(), *module.buffers()]


def _merge(module: Any, inputs: dict[str, GeometricTensor]) -> GeometricTensor:
    """What escnn's ``MergeModule`` computes, with a concatenation that can be followed."""
    parts = [
        getattr(module, f"submodule_{i}")(*[inputs[label] for label in labels])
        for i, labels in enumerate(merged_labels(module))
    ]
    # escnn fills a tensor in single precision
    joined = torch.cat([part.tensor for part in parts], dim=1).float()
    return GeometricTensor(joined, module.out_type, parts[0].coords)
