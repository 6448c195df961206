"""Keeps escnn working on today's stack, nothing else."""

import escnn.group._numerical as _numerical

_numerical.randomized_svd = None
