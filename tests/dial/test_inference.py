"""What inference mode prepares serves training later, and the other way round."""

from __future__ import annotations

import pytest
import torch

import escnn_soft as es
from escnn_soft.layers import dials
from tests import processes
from tests.kinds import KINDS, example, value


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("softness", [0.3, es.Budget(0.2), es.Learned(0.4)], ids=str)
@pytest.mark.parametrize("kind", ["SoftR2Conv, off the pixels", "SoftMatrixLinear", "filter of fields, off the pixels"])
def test_dials_that_are_turned_in_inference_mode(kind, softness, train) -> None:
    model, twin = KINDS[kind](), KINDS[kind]()
    twin.load_state_dict(model.state_dict())
    with torch.inference_mode():
        es.set_softness(model, softness)
        inside = value(model.train(train))
    es.set_softness(twin, softness)
    assert torch.equal(value(twin.train(train)), inside)
    y = model.train()(example(model))
    (y if isinstance(y, torch.Tensor) else y.tensor).square().sum().backward()
    assert all(p.grad is not None or not p.requires_grad for p in model.parameters() if p.numel())
    assert dials(model)


def test_what_is_built_in_inference_mode_leaves_nothing_behind() -> None:
    """In a process of its own, where nothing has been built yet."""
    assert processes.run("-c", INSIDE_FIRST).count("trained") == len(KINDS)


INSIDE_FIRST = """
import torch
import escnn_soft as es
from tests.kinds import KINDS, example, value

for kind, make in KINDS.items():
    with torch.inference_mode():
        inside = make()
        for softness in (0.4, 0.2):
            es.set_softness(inside, softness)
            first = value(inside.train())
            torch.testing.assert_close(value(inside.eval()), first)
    torch.testing.assert_close(value(inside), first)
    outside = make().train()
    outside.load_state_dict(inside.state_dict())
    es.set_softness(outside, 0.2)
    torch.testing.assert_close(value(outside), first)
    y = outside(example(outside))
    (y if isinstance(y, torch.Tensor) else y.tensor).square().sum().backward()
    assert any(p.grad is not None for p in outside.parameters())
    print("trained")
"""
