"""Messages stay short and on one line, whatever the value; ``error.value`` keeps it."""

import pickle
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from escnn import gspaces

from escnn_soft.convert import soften
from escnn_soft.errors import ArgumentError, shown
from escnn_soft.groups import lorentz_group, vector

PLANE = gspaces.rot2dOnR2(4)
MIXED = PLANE.type(*[PLANE.regular_repr, PLANE.trivial_repr, PLANE.irrep(1)] * 40)
NETWORK = torch.nn.Sequential(*[torch.nn.Conv2d(8, 8, 3) for _ in range(100)])


class Silent:
    def __repr__(self) -> str:
        raise KeyError("no words")


class Shapeless:
    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("no shape yet")


VALUES = {
    "tensor": torch.randn(100, 100),
    "array": np.zeros((100, 100)),
    "field": PLANE.type(PLANE.regular_repr)(torch.zeros(2, 4, 9, 9)),
    "list of tensors": [torch.randn(50, 50)] * 500,
    "state_dict": NETWORK.state_dict(),
    "dict of dicts": {i: OrderedDict((j, torch.zeros(9, 9)) for j in range(50)) for i in range(50)},
    "network": NETWORK,
    "type": MIXED,
    "representation": MIXED.representation,
    "matrices": 30 * vector(lorentz_group()),
    "text": "word " * 5000,
    "lines": "line\n" * 5000,
    "bytes": bytes(10**5),
    "integer": 10**1000,
    "huge integer": 10**10000,
    "nested": [[[[[[[[["deep"] * 50] * 50]]]]]]],
    "silent": Silent(),
    "silent in a list": [Silent()] * 100,
    "shapeless": Shapeless(),
    "uninitialised": torch.nn.LazyLinear(3).weight,
}


@pytest.mark.parametrize("name", VALUES)
def test_no_value_floods_a_message(name) -> None:
    value = VALUES[name]
    error = ArgumentError("name", value, "something else", "Pass it.")
    assert error.value is value
    assert len(shown(value)) <= 200
    assert len(str(error)) < 300
    assert "\n" not in str(error)
    assert not re.search(r"\[\[ ?-?\d", str(error))  # the numbers of a tensor


def test_what_a_message_shows() -> None:
    assert shown(torch.zeros(3, 4)) == "tensor(shape=(3, 4), dtype=torch.float32)"
    assert shown(np.zeros(3)) == "ndarray(shape=(3,), dtype=float64)"
    assert shown(torch.tensor(2.0)) == "tensor(2.)"
    assert shown({"w": [torch.zeros(2)]}) == "{'w': [tensor(shape=(2,), dtype=torch.float32)]}"
    assert shown(NETWORK) == "Sequential(...)"
    assert shown(NETWORK[0]) == "Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1))"
    assert shown(Silent()).startswith("<Silent")
    assert "algebra=tensor(shape=(6, 4, 4), dtype=torch.float64)" in shown(lorentz_group())
    assert shown([1, 0.5, "a", None]) == "[1, 0.5, 'a', None]"


def test_what_soften_leaves_hard_is_listed_up_to_ten_layers() -> None:
    model = torch.nn.Sequential(*[torch.nn.Conv2d(4, 4, (3, 5)) for _ in range(40)])
    with pytest.raises(ArgumentError, match="and 30 more") as raised:
        soften(model, 0.5, gspace=PLANE)
    assert str(raised.value).count("\n") == 12


def test_errors_travel_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(ArgumentError("model", NETWORK, "a smaller one", "Take half.")))
    assert type(error) is ArgumentError
    assert str(error) == str(ArgumentError("model", NETWORK, "a smaller one", "Take half."))
    assert (error.name, error.value, error.remedy) == ("model", shown(NETWORK), "Take half.")
