"""Moved: every name of this package lives in another room now, and is forwarded for one release."""

from __future__ import annotations

from typing import Any

from escnn_soft._moved import MOVED, forwarded


def __getattr__(name: str) -> Any:
    return forwarded(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MOVED[__name__]})
