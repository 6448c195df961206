"""Running Python in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import torch.distributed

ROOT = Path(__file__).parents[1]


def run(*words: str, timeout: float = 240, variables: Mapping[str, str] | None = None) -> str:
    """What the interpreter prints for these words, given more variables; its complaint if it fails."""
    variables = {**os.environ, **(variables or {})}
    path = os.pathsep.join([str(ROOT), *filter(None, [variables.get("PYTHONPATH")])])
    environment = {**variables, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def python(program: str, variables: Mapping[str, str] | None = None) -> str:
    """What a program prints, with more variables in its environment.

    It finds no torch_geometric, which escnn imports where it is, and which takes longer than torch.
    """
    without = "import sys\nsys.modules['torch_geometric'] = None\n"
    return run("-c", without + textwrap.dedent(program), variables=variables)


def leave() -> None:
    """End a job that ``torchrun`` started and that succeeded.

    No process leaves while another still talks to it, and none takes its interpreter down: where a thread of gloo is
    woken meanwhile, that ends in ``terminate called without an active exception``.
    """
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)


def torchrun(program: Path, processes: int, *words: str) -> str:
    """What a program prints that ``torchrun`` starts in several processes on this machine."""
    return run("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(program), *words)
