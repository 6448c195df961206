"""Running Python in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*words: str, timeout: float = 240, variables: Mapping[str, str] | None = None) -> str:
    """What the interpreter prints for these words, given more variables; its complaint if it fails."""
    variables = {**os.environ, **(variables or {})}
    path = os.pathsep.join([str(ROOT), *filter(None, [variables.get("PYTHONPATH")])])
    environment = {**variables, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def python(program: str, variables: Mapping[str, str] | None = None) -> str:
    """What a program prints, with more variables in its environment."""
    return run("-c", textwrap.dedent(program), variables=variables)


def torchrun(program: Path, processes: int, *words: str) -> str:
    """What a program prints that ``torchrun`` starts in several processes on this machine."""
    return run("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(program), *words)
