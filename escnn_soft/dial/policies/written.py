"""Policies and schedules as plain JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from escnn_soft.dial.policies.policy import Policy
from escnn_soft.dial.policies.schedules import LinearSchedule, Schedule
from escnn_soft.errors import ArgumentError

__all__ = ["read_policy", "read_schedule", "written_policy", "written_schedule"]

_OURS = __name__.partition(".")[0] + "."
_INFINITE = {"inf": math.inf, "-inf": -math.inf}
"""JSON has no infinity."""


def written_policy(policy: Policy) -> dict[str, Any]:
    """A policy as JSON: the name of its class, with its module where it is not one of this library, and its fields.

    Args:
        policy: one of this library, or a frozen dataclass of numbers, strings and truth values.

    Returns:
        What :func:`read_policy` takes.

    Raises:
        ArgumentError: if the policy is no such dataclass.

    Example:
        >>> from escnn_soft import Cutoff
        >>> written_policy(Cutoff(2.0)), read_policy({"policy": "Cutoff", "bound": 2.0})
        ({'policy': 'Cutoff', 'bound': 2.0}, Cutoff(bound=2.0))
    """
    values = {field.name: getattr(policy, field.name) for field in fields(policy)} if is_dataclass(policy) else None
    if values is None or not all(isinstance(value, str | int | float | None) for value in values.values()):
        expected = "a policy that is a dataclass of numbers, strings and truth values"
        raise ArgumentError("softness", policy, expected, "Decorate its class with @dataclass(frozen=True).")
    infinite = {value: name for name, value in _INFINITE.items()}
    return {"policy": _name(type(policy)), **{name: infinite.get(value, value) for name, value in values.items()}}


def read_policy(written: Any) -> Policy:
    """The policy that :func:`written_policy` wrote.

    Args:
        written: a dictionary.

    Returns:
        The policy.

    Raises:
        ArgumentError: if it is none, or names a class that is not there.
        SoftnessError: if the policy refuses its fields.
    """
    found, values = _read(written, "policy", Policy)
    try:
        return cast("Policy", found(**{name: _INFINITE.get(value, value) for name, value in values.items()}))
    except (OverflowError, TypeError):
        raise ArgumentError("policy", written, f"values of the fields of {found.__name__}", "Write it anew.") from None


def written_schedule(schedule: Schedule) -> dict[str, Any]:
    """A schedule as JSON; arguments and errors as for policies.

    Args:
        schedule: a ``LinearSchedule``, ``CosineSchedule`` or subclass whose policy is a class of policies.

    Returns:
        What :func:`read_schedule` takes.

    Raises:
        ArgumentError: if it is no such schedule.
    """
    policy = getattr(schedule, "policy", None)
    if not isinstance(schedule, LinearSchedule) or not (isinstance(policy, type) and issubclass(policy, Policy)):
        expected = "a LinearSchedule or CosineSchedule of a class of policies"
        remedy = "Keep a schedule of your own in your program, and only its step in the file."
        raise ArgumentError("schedule", schedule, expected, remedy)
    values = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    return {"schedule": _name(type(schedule)), **values, "policy": _name(policy)}


def read_schedule(written: Any) -> LinearSchedule:
    """The schedule that :func:`written_schedule` wrote; arguments and errors as for :func:`read_policy`."""
    found, values = _read(written, "schedule", LinearSchedule)
    return cast("LinearSchedule", found(**{**values, "policy": _class(values, "policy", Policy)}))


def _read(written: Any, key: str, base: type) -> tuple[type, dict[str, Any]]:
    """The class that a dictionary names under a key, and the fields it gives."""
    cls = _class(written, key, base)
    values = {name: value for name, value in written.items() if name != key}
    wanted = sorted(field.name for field in fields(cls))
    if sorted(values) != wanted:
        raise ArgumentError(key, written, f"{cls.__name__} with the fields {wanted}", "Write it anew.")
    return cls, values


def _class(written: Any, key: str, base: type) -> Any:
    """The class that a dictionary names under a key."""
    known: dict[str, Any] = {_name(cls): cls for cls in _dataclasses(base)}
    name = written.get(key) if isinstance(written, Mapping) else None
    if not isinstance(name, str) or name not in known:
        remedy = "Import the module that defines the class first, or write it anew."
        raise ArgumentError(key, written, f"the name of a class among {', '.join(sorted(known))}", remedy)
    return known[name]


def _dataclasses(base: type) -> Iterator[type]:
    """A class and all that is derived from it, dataclasses only."""
    if is_dataclass(base):
        yield base
    subclasses: list[type] = base.__subclasses__()
    for cls in subclasses:
        yield from _dataclasses(cls)


def _name(cls: type) -> str:
    """The name of a class, with its module where it is not of this library."""
    return cls.__name__ if cls.__module__.startswith(_OURS) else f"{cls.__module__}.{cls.__qualname__}"
