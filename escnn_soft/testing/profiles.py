"""Hypothesis profiles: how many examples, and whether they are the same each time."""

from __future__ import annotations

import os

import torch
from hypothesis import register_random, settings

from escnn_soft.errors import ArgumentError

__all__ = ["PROFILES", "register_profiles"]

PROFILES: dict[str, dict[str, int | bool | None]] = {
    "default": {"max_examples": 25, "deadline": None},
    "ci": {"max_examples": 25, "deadline": None, "derandomize": True, "print_blob": True},
    "nightly": {"max_examples": 1_000, "deadline": None, "derandomize": False, "print_blob": True},
    "thorough": {"max_examples": 10_000, "deadline": None},
}
"""``default`` while developing, ``ci`` the same examples on every machine, ``nightly`` others each night, ``thorough``
before a release."""


class _TorchRandom:
    """torch's global generator as Hypothesis wants it: an example replayed draws the same tensors.

    The generator itself is seeded: ``torch.manual_seed`` notes a stack for each kind of accelerator that is not there,
    which takes longer than many an example.
    """

    seed = staticmethod(torch.default_generator.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_TORCH_RANDOM = _TorchRandom()  # Hypothesis holds only a weak reference


def register_profiles(profile: str | None = None) -> str:
    """Register the profiles, load one, and let Hypothesis manage torch's seed; for your ``conftest.py``.

    Args:
        profile: which one to load; the environment variable ``HYPOTHESIS_PROFILE`` or ``default`` if None.

    Returns:
        The name of the loaded profile.

    Raises:
        ArgumentError: if there is no such profile.

    Example:
        >>> sorted(PROFILES)
        ['ci', 'default', 'nightly', 'thorough']
    """
    name = os.environ.get("HYPOTHESIS_PROFILE", "default") if profile is None else profile
    if name not in PROFILES:
        raise ArgumentError("profile", name, f"one of {tuple(PROFILES)}", "Check HYPOTHESIS_PROFILE.")
    for key, options in PROFILES.items():
        settings.register_profile(key, **options)  # type: ignore[arg-type]
    settings.load_profile(name)
    register_random(_TORCH_RANDOM)
    return name
