"""What torchrun starts: a soft network sharded by FSDP2 trains with LayerwiseAdam as it does in one process."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftLayer
from escnn_soft.training import DampedMuon, LayerwiseAdam
from tests.processes import leave
from tests.training.models import descend, network


def main() -> None:
    dist.init_process_group("gloo")
    alone = network()
    model = copy.deepcopy(alone)
    for module in list(model.modules()):
        if isinstance(module, SoftLayer):
            fully_shard(module)
    fully_shard(model)
    optimizers = [LayerwiseAdam(m, lr=0.01, weight_decay=0.1) for m in (alone, model)]
    descend(alone, optimizers[0], steps=4)
    descend(model, optimizers[1], steps=4)
    for (name, a), b in zip(alone.named_parameters(), model.parameters(), strict=True):
        assert torch.allclose(a, b.full_tensor(), rtol=1e-4, atol=1e-6), name
    state = optimizers[1].state[model.first.weights]
    assert state["exp_avg"].full_tensor().shape == alone.first.weights.shape
    with pytest.raises(ArgumentError, match="whole kernels"):
        DampedMuon(model).step()
    if dist.get_rank() == 0:
        print("the same as one process")
    leave()


if __name__ == "__main__":
    main()
