"""Layers whose parameters are spread over processes have the second moment of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed

from tests.processes import torchrun

JOB = Path(__file__).with_name("sharded_job.py")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_sharded_layers_train_as_whole_ones() -> None:
    assert "the same as one process" in torchrun(JOB, 2)
