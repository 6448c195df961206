"""How long a soft convolution in space takes to build, and how much of that is escnn's own basis.

    python benchmarks/spatial_build.py [NAME ...]      SO(3) O(3) octahedral "full octahedral" icosahedral

Each group in a process of its own with an empty cache, also of what escnn keeps on disk; fields are the band-limited
regular representation up to degree 2, or the regular one; k = 3. Seconds are of the layer alone, after its field types.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import joblib

FOLDER = tempfile.TemporaryDirectory()
memory = joblib.Memory
joblib.Memory = lambda location=None, *args, **kwargs: memory(FOLDER.name, verbose=0)  # before escnn makes any

from escnn import gspaces  # noqa: E402
from escnn.gspaces import GSpace3D  # noqa: E402
from escnn.nn import R3Conv  # noqa: E402

from escnn_soft import SoftR3Conv  # noqa: E402

SPACES: dict[str, Callable[[], GSpace3D]] = {
    "SO(3)": gspaces.rot3dOnR3,
    "O(3)": gspaces.flipRot3dOnR3,
    "octahedral": gspaces.octaOnR3,
    "full octahedral": gspaces.fullOctaOnR3,
    "icosahedral": gspaces.icoOnR3,
}


def measure(name: str) -> None:
    """One line: channels, seconds for the soft layer, seconds of which are escnn's own."""
    space = SPACES[name]()
    group = space.fibergroup
    field = space.type(group.bl_regular_representation(2) if group.continuous else group.regular_representation)
    own = 0.0
    original = R3Conv.__init__

    def timed(self: R3Conv, *args: object, **kwargs: object) -> None:
        nonlocal own
        start = time.perf_counter()
        original(self, *args, **kwargs)
        own = time.perf_counter() - start

    R3Conv.__init__ = timed
    start = time.perf_counter()
    SoftR3Conv(field, field, 3)
    total = time.perf_counter() - start
    print(f"{name:<16} {field.size:>4} channels  {total:>7.2f} s  of which escnn {own:>6.2f} s", flush=True)


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(SPACES)
    if len(chosen) == 1:
        measure(chosen[0])
    else:
        for one in chosen:
            subprocess.run([sys.executable, "-W", "ignore", __file__, one], check=True)
