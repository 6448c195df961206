"""Claim: levels between representations of O(5) with 40 channels take < 0.5 s, < 100 MB; V^3 -> V^3 is possible.

Each line is measured in a process of its own, on one thread: processor seconds from the generators to the transform,
memory on top of the imports, the number of equivariant maps, and the largest defect of a unit equivariant map over
the generators.
"""

from __future__ import annotations

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from _harness import arguments, print_setting

from escnn_soft.grading import matrix_transform
from escnn_soft.groups import (
    MatrixGroup,
    MatrixRepresentation,
    lorentz_group,
    orthogonal_group,
    permutation_group,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
    vector,
)

CASES = ["SO(3) V -> V^3", "SO(3) V^3 -> V^3", "O(5) V -> V", "O(5) 8V -> 8V", "O(5) V -> V^3", "O(5) V^2 -> V^2",
         "O(5) V^3 -> V^3", "O(1,3) V -> V", "O(1,3) V^2 -> V^2", "Sp(4) V^2 -> V^2", "SU(3) V^2 -> V^2",
         "S_5 V^2 -> V^2"]  # fmt: skip
GROUPS = {
    "SO(3)": special_orthogonal_group(3),
    "O(5)": orthogonal_group(5),
    "O(1,3)": lorentz_group(),
    "Sp(4)": symplectic_group(2),
    "SU(3)": special_unitary_group(3),
    "S_5": permutation_group(5),
}


def representation(group: MatrixGroup, name: str) -> MatrixRepresentation:
    V = vector(group)
    return int(name[:-1] or 1) * V if name.endswith("V") else V ** int(name[2:])


def measure(case: str) -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    group, left, _, right = case.split()
    into, out = (representation(GROUPS[group], name) for name in (left, right))
    torch.linalg.eigh(torch.eye(3))  # loads the library
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    transform = matrix_transform(into, out)
    seconds = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    strict = transform.equivariant
    maps = strict.synthesis(torch.nn.functional.normalize(torch.randn(strict.dim, dtype=torch.float64), dim=0))[:, :, 0]
    defects = [x @ maps - maps @ y for x, y in zip(out.derivatives(), into.derivatives(), strict=True)]
    for b in range(len(GROUPS[group].generators.discrete)):
        h = GROUPS[group].element(b)
        defects.append(out.matrix(h) @ maps - maps @ into.matrix(h))
    worst = max(float(defect.norm()) for defect in defects)
    counts = f"{strict.dim:>8}{len(transform.levels):>8}"
    return f"{case:<20}{into.size * out.size:>8}{seconds:>9.3f} s{memory:>9.0f} MB{counts}{worst:>10.0e}"


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("From generators to levels", options.threads)
    print(f"{'':<20}{'entries':>8}{'CPU time':>11}{'memory':>12}{'strict':>8}{'levels':>8}{'defect':>10}")
    for case in CASES:
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            print(pool.submit(measure, case).result())


if __name__ == "__main__":
    main()
