"""Writing a file whole, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes its place at the end if nothing was raised.

    What is there stays until the new file is complete, other writers have drafts of their own, and a link goes on
    pointing to the file. It has the permissions of any new file, whatever the writer gives it.

    Args:
        path: of the file.

    Yields:
        Where to write.
    """
    path = path.resolve()
    draft = path.with_name(f".{uuid.uuid4().hex}.part")
    draft.touch(exist_ok=False)
    mode = draft.stat().st_mode
    try:
        yield draft
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
