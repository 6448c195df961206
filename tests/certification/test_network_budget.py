"""A network's budget: held on its input, shared by the layers, and refused where it cannot be held."""

import pytest
import torch
from escnn import gspaces
from escnn.nn import InnerBatchNorm, PointwiseAvgPool, ReLU, SequentialModule

from escnn_soft import Budget, SoftR2Conv, certify, set_budget
from escnn_soft.errors import ArgumentError, SoftnessError
from tests.certification.checks import check, random_field, shake


def network(softness: float = 0.7) -> SequentialModule:
    torch.manual_seed(0)
    space = gspaces.rot2dOnR2(4)
    image, hidden = space.type(space.trivial_repr), space.type(*[space.regular_repr] * 2)
    return SequentialModule(
        SoftR2Conv(image, hidden, 3, padding=1, softness=softness),
        InnerBatchNorm(hidden),
        ReLU(hidden),
        SoftR2Conv(hidden, hidden, 3, padding=1, softness=softness),
        ReLU(hidden),
        SoftR2Conv(hidden, image, 3, padding=1, softness=softness),
    ).eval()


@pytest.mark.parametrize("eta", [0.5, 0.1, 0.01])
def test_the_budget_of_a_network_is_held_and_used(eta) -> None:
    model = network()
    shake(model)
    x = random_field(model.in_type, 2, 9, 9)
    assert certify(model, x).relative > eta
    budgets = set_budget(model, eta, x)
    assert list(budgets) == ["0", "3", "5"]
    assert [model[int(name)].softness for name in budgets] == list(budgets.values())
    certificate = check(model, x)
    assert 0.9 * eta <= certificate.relative <= eta


def test_layers_share_alike() -> None:
    model = network()
    shake(model)
    with torch.no_grad():
        model[3].soft_weights.mul_(10.0)
    x = random_field(model.in_type, 1, 9, 9)
    set_budget(model, 0.05, x)
    contributions = [term.contribution for term in certify(model, x).terms if term.kind == "soft"]
    assert max(contributions) <= 5 * min(contributions)


def test_fresh_layers_get_the_whole_budget() -> None:
    model = network()
    assert set(set_budget(model, 0.2, random_field(model.in_type, 1, 9, 9)).values()) == {Budget(0.2)}


def test_what_cannot_be_held_is_refused_and_nothing_changes() -> None:
    model = network(0.7)
    shake(model)
    space = gspaces.rot2dOnR2(4)
    image = space.type(space.trivial_repr)
    broken = SequentialModule(model, PointwiseAvgPool(image, 2))
    with pytest.raises(ArgumentError, match="off-centre"):
        set_budget(broken.eval(), 0.1, random_field(image, 1, 9, 9))
    with pytest.raises(ArgumentError, match="strict"):
        set_budget(model, 1e-12, random_field(image, 1, 9, 9))
    assert [model[i].softness for i in (0, 3, 5)] == [0.7] * 3
    with pytest.raises(ArgumentError, match="soft layers"):
        set_budget(ReLU(image), 0.1, random_field(image, 1, 9, 9))
    for eta in (0.0, -1.0, float("nan"), "much"):
        with pytest.raises(SoftnessError):
            set_budget(model, eta, random_field(image, 1, 9, 9))


def test_a_plain_tensor_takes_the_type_that_is_given() -> None:
    space = gspaces.rot2dOnR2(4)
    image, two = space.type(space.trivial_repr), space.type(*[space.trivial_repr] * 2)
    layer = SoftR2Conv(image, image, 3, softness=0.5)
    torch.nn.init.normal_(layer.soft_weights)

    class Tensors(torch.nn.Module):
        """From tensors to tensors, and no in_type of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(image(x)).tensor

    model = Tensors().eval()
    x = torch.randn(2, 1, 7, 7)
    with pytest.raises(ArgumentError, match="Pass in_type"):
        certify(model, x)
    assert certify(model, x, in_type=image).bound == certify(layer.eval(), image(x)).bound
    set_budget(model, 0.1, x, in_type=image)
    assert certify(model, x, in_type=image).relative <= 0.1
    for wrong, given in ((two, x), (two, image(x)), (3, x)):
        with pytest.raises(ArgumentError, match=r"in_type|an input of type"):
            certify(model, given, in_type=wrong)
