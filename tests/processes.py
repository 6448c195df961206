"""Running Python in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*words: str, timeout: float = 240) -> str:
    """What the interpreter prints for these words; its complaint if it fails."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def python(program: str) -> str:
    """What a program prints."""
    return run("-c", textwrap.dedent(program))


def torchrun(program: Path, processes: int, *words: str) -> str:
    """What a program prints that ``torchrun`` starts in several processes on this machine."""
    return run("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(program), *words)
