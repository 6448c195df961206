"""escnn is mended (:mod:`escnn_soft._compat.mending` and ``.modules``) before anything builds a basis.

That is at once if escnn is there already, and otherwise when it is imported, by us or by anyone: so
``import escnn_soft`` alone need not wait for escnn and torch.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from escnn_soft._compat import requirement as requirement  # says what to do where there is no escnn

if TYPE_CHECKING:
    from escnn_soft._compat import mending as mending  # imported by name below
    from escnn_soft._compat import modules as modules


class _MendingLoader(Loader):
    """escnn's own loader, whatever it is, and after it ours."""

    def __init__(self, loader: Loader, finder: MetaPathFinder) -> None:
        self._loader, self._finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader  # from here on as if we had not been there
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*py3nj.*")  # mended, escnn does not need it
            self._loader.exec_module(module)
            _mend()
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)


class _EscnnFinder(MetaPathFinder):
    """Finds escnn where the finders after it do, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "escnn" or self not in sys.meta_path:  # it may have been removed while others are still asked
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)  # Python 3.10 and 3.11 take finders without
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and spec.has_location:  # else it is a folder of that name
                    spec.loader = _MendingLoader(spec.loader, self)
                return spec
        return None


def _mend() -> None:
    """Mend escnn, unless that is done: a module is executed once, and others who import it wait."""
    importlib.import_module("escnn_soft._compat.mending")
    importlib.import_module("escnn_soft._compat.modules")  # last: other threads may still be importing escnn.nn


if sys.modules.get("escnn") is not None:
    _mend()
else:
    sys.meta_path.insert(0, _EscnnFinder())
