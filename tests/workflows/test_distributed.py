"""DistributedDataParallel and FSDP2 on two processes, started by torchrun, give what one process gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed

from tests.processes import torchrun

JOB = Path(__file__).with_name("distributed_job.py")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("kind", ["ddp", "ddp strict", "fsdp train", pytest.param("fsdp")])
def test_two_processes_train_as_one(kind) -> None:
    assert "the same as one process" in torchrun(JOB, 2, kind)
