"""What torchrun starts: trains a soft network on shares of a batch, and checks it against one process on all of it.

On GPUs with NCCL where each process has one, else on the CPU with gloo.
"""

from __future__ import annotations

import copy
import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from escnn_soft import set_softness, soften
from escnn_soft.layers import SoftLayer
from tests.convert.models import Classifier
from tests.disturbance import disturb
from tests.processes import leave

BATCH, STEPS = 4, 3
RANK, WORLD = (int(os.environ.get(name, "1")) for name in ("RANK", "WORLD_SIZE"))  # set by torchrun
ON_GPUS = torch.cuda.device_count() >= WORLD
DEVICE = torch.device("cuda", RANK) if ON_GPUS else torch.device("cpu")


def pictures(step: int) -> torch.Tensor:
    return torch.randn(BATCH, 3, 7, 7, generator=torch.Generator().manual_seed(step)).to(DEVICE)


def sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, rank: int, world: int) -> None:
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for step in range(STEPS):
        optimizer.zero_grad()
        model(pictures(step)[share]).square().mean().backward()
        optimizer.step()


def main(*kinds: str) -> None:
    if ON_GPUS:
        torch.cuda.set_device(DEVICE)
    dist.init_process_group("nccl" if ON_GPUS else "gloo")
    for kind in kinds:
        check(kind)
        if RANK == 0:
            print(f"{kind}: the same as one process")
    leave()


def check(kind: str) -> None:
    """Train in one way of sharing the work, and in one process."""
    generator = torch.random.manual_seed(0)
    assert generator is not None
    network = disturb(soften(Classifier(), 0.5)).to(DEVICE)
    if kind == "ddp strict":  # soft parameters take no part: DDP has to be told
        set_softness(network, 0.0)
    alone, x = copy.deepcopy(network), pictures(99)
    if kind.startswith("ddp"):
        model = DistributedDataParallel(network, find_unused_parameters=kind == "ddp strict")
    else:
        for module in list(network.modules()):
            if isinstance(module, SoftLayer):
                fully_shard(module)
        model = fully_shard(network)
    optimizers = sgd(alone), sgd(model)  # before the first forward pass, as FSDP2 wants it
    train(alone, optimizers[0], 0, 1)
    train(model, optimizers[1], RANK, WORLD)
    state = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in network.state_dict().items()}
    for name, value in alone.state_dict().items():
        assert torch.allclose(state[name], value, rtol=1e-3, atol=1e-5), name
    if kind != "fsdp train":
        assert torch.allclose(model.eval()(x), alone.eval()(x), rtol=1e-3, atol=1e-5)
        train(model.train(), optimizers[1], RANK, WORLD)  # and on
        train(alone.train(), optimizers[0], 0, 1)
        assert torch.allclose(model.eval()(x), alone.eval()(x), rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    main(*sys.argv[1:])
