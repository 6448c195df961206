"""DistributedDataParallel and FSDP2 on two processes, started by torchrun, give what one process gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed

from tests.processes import torchrun

JOB = Path(__file__).with_name("distributed_job.py")


KINDS = ["ddp", "ddp strict", "fsdp train", "fsdp"]
"""All in one job: to start two processes takes longer than what they do."""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_two_processes_train_as_one() -> None:
    printed = torchrun(JOB, 2, *KINDS)
    for kind in KINDS:
        assert f"{kind}: the same as one process" in printed
