"""Tests that wait for a change of ``escnn_soft.nn``; each marker is void once the change is there."""

from __future__ import annotations

import pytest

from escnn_soft.nn import escnn_basis
from escnn_soft.nn.soft import SoftLayer

OWN_HASH = pytest.mark.xfail(
    not hasattr(escnn_basis, "_OwnExpansion"), reason="escnn hashes expansions by their tensors' values"
)
FUNCTIONAL_EVAL = pytest.mark.xfail(
    not hasattr(SoftLayer, "_functional"), reason="the cache of eval mode asks functional tensors for their memory"
)
CACHE_IS_NO_BUFFER = pytest.mark.xfail(
    not hasattr(SoftLayer, "_sharded"), reason="the cache of eval mode is a buffer, which AveragedModel pairs wrongly"
)
SHARDED_EVAL = pytest.mark.xfail(
    not hasattr(SoftLayer, "_sharded"), reason="eval() expands sharded parameters outside forward"
)
