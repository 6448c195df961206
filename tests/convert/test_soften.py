"""soften: the same function, the same parameters, everything attached is kept."""

from __future__ import annotations

import copy
import time
import warnings

import pytest
import torch
from escnn import gspaces, nn
from escnn.nn import R2Conv

import escnn_soft as es
from escnn_soft import SoftLinear, SoftR2Conv, harden, register_soft, soften
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.escnn import kept_in_basis
from tests.convert.models import HIDDEN, IMAGE, PICTURES, Classifier, output, randomised, sequential
from tests.disturbance import disturb
from tests.layers.test_layers import GEOMETRIES


class Tilted(R2Conv):
    """A user's layer that nobody has registered."""


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_same_function_parameters_and_mode(build, train, inplace) -> None:
    model = build().train(train)
    hard = dict(model.named_parameters(remove_duplicate=False))
    expected = output(copy.deepcopy(model).train(train) if train else model)
    random = torch.random.get_rng_state()
    soft = soften(model, 0.5, inplace=inplace)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert (soft is model) == inplace
    for name, parameter in hard.items():
        assert soft.get_parameter(name) is parameter
    assert all(module.training == train for module in soft.modules())
    assert (output(soft) - expected).abs().max() < 5e-6
    assert not any(type(module) in (R2Conv, nn.Linear) for module in soft.modules())
    assert set(hard) | {n for n, _ in soft.named_parameters(remove_duplicate=False) if ".soft_" in n} == {
        n for n, _ in soft.named_parameters(remove_duplicate=False)
    }
    disturb(soft)
    assert (output(soft.eval()) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("train", [True, False])
def test_a_copy_leaves_the_model_as_it_is(train) -> None:
    model = sequential().train(train)
    modules, state = [(m, type(m)) for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    soft = soften(model, 0.5)
    output(soft.train())
    disturb(soft)
    soft.eval()
    assert [(m, type(m)) for m in model.modules()] == modules
    assert all(m.training == train for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert {id(m) for m in model.modules()}.isdisjoint(id(m) for m in soft.modules())
    assert soft[0].in_type is model[0].in_type


def test_an_optimizer_that_exists_goes_on_working() -> None:
    model = sequential()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    soft = soften(model, 0.5)
    before = soft[0].weights.clone()
    output(soft).square().mean().backward()
    optimizer.step()
    assert (soft[0].weights - before).abs().max() > 0


@pytest.mark.parametrize("inplace", [False, True])
def test_shared_modules_stay_one(inplace) -> None:
    soft = soften(Classifier(), 0.5, inplace=inplace)
    assert soft.again is soft.body[0]
    assert isinstance(soft.again, SoftR2Conv)
    assert isinstance(soft.read, SoftLinear)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_root_itself(inplace) -> None:
    conv = randomised(R2Conv(IMAGE, HIDDEN, 3))
    alias = [conv]
    soft = soften(conv, 0.5, inplace=inplace)
    assert isinstance(soft, SoftR2Conv)
    assert (alias[0] is soft) == inplace
    assert (output(soft) - output(conv)).abs().max() < 1e-6


@pytest.mark.parametrize("inplace", [False, True])
def test_dtype_device_and_requires_grad(inplace) -> None:
    model = sequential()
    model[0].requires_grad_(False)
    for block in model[3]._basisexpansion._modules.values():  # escnn shares bases between layers: leave theirs alone
        block.sampled_basis = block.sampled_basis.clone()
    model[3].weights.data = model[3].weights.data.double()
    model[3].bias.data = model[3].bias.data.double()
    soft = soften(model, 0.5, inplace=inplace)
    assert [p.requires_grad for p in soft[0].parameters(recurse=False)] == [False] * 4
    assert all(p.requires_grad for p in soft[3].parameters())
    assert {p.dtype for p in soft[3].parameters(recurse=False)} == {torch.float64}
    assert soft[0].soft_weights.dtype == torch.float32


@pytest.mark.parametrize("inplace", [False, True])
def test_hooks_of_every_kind_are_kept(inplace) -> None:
    model, calls = sequential(), []
    conv = model[0]

    def note(word):
        return lambda *args, **kwargs: calls.append((word, type(args[0]).__name__))

    handles = [
        conv.register_forward_pre_hook(note("pre")),
        conv.register_forward_hook(note("forward"), with_kwargs=True),
        conv.register_state_dict_post_hook(note("state")),
        conv.register_state_dict_pre_hook(note("before state")),
        conv.register_load_state_dict_pre_hook(note("load")),
        conv.register_load_state_dict_post_hook(note("loaded")),
    ]
    # a full backward hook needs tensors as outputs; on parameters it does not
    conv.weights.register_hook(note("grad"))
    soft = soften(model, 0.5, inplace=inplace)
    output(soft).sum().backward()
    soft.load_state_dict(soft.state_dict())
    assert {word for word, _ in calls} == {"pre", "forward", "state", "before state", "load", "loaded", "grad"}
    assert all(kind == "SoftR2Conv" for word, kind in calls if word != "grad")
    if inplace:
        for handle in handles:
            handle.remove()
        calls.clear()
        soft.load_state_dict(soft.state_dict())
        output(soft)
        assert not calls


def test_hooks_of_a_copy_belong_to_the_copy() -> None:
    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen = sequential(), 0
            self.net[0].register_forward_hook(self.watch)

        def watch(self, *args) -> None:
            self.seen += 1

    model = Watched()
    soft = soften(model, 0.5)
    output(soft.net)
    assert (model.seen, soft.seen) == (0, 1)
    output(model.net)
    assert (model.seen, soft.seen) == (1, 1)


@pytest.mark.parametrize("inplace", [False, True])
def test_attributes_of_the_users_are_kept(inplace) -> None:
    model = sequential()
    model[0].tag = {"stage": 1}
    model[0].register_buffer("steps", torch.ones(1))
    model[0].register_buffer("scratch", torch.ones(2), persistent=False)
    model[0].extra = torch.nn.Parameter(torch.ones(3))
    soft = soften(model, 0.5, inplace=inplace)
    assert soft[0].tag == {"stage": 1}
    assert {"0.steps", "0.extra"} <= set(soft.state_dict())
    assert "0.scratch" not in soft.state_dict()
    assert soft[0].scratch.shape == (2,)
    assert soft[0].extra is model[0].extra


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "-".join(g))
def test_every_geometry_and_band_limit_is_found(geometry) -> None:
    space = gspaces.flipRot2dOnR2(4)
    field = space.type(*[space.regular_repr] * 2)
    hard = randomised(R2Conv(field, field, **{"kernel_size": 3, "padding": 1, **geometry}))
    soft = soften(hard, 0.5)
    assert type(soft) is SoftR2Conv
    assert kept_in_basis(soft) == kept_in_basis(hard)
    x = field(torch.randn(2, field.size, 8, 8))
    assert torch.allclose(soft(x).tensor, hard(x).tensor, atol=5e-6)


def test_a_cut_off_with_as_many_weights_as_the_default_is_found() -> None:
    def other(attributes) -> bool:
        return (attributes["radius"], attributes["irrep:frequency"]) in ((0.0, 0), (1.0, 0), (1.0, 2))

    space = gspaces.rot2dOnR2(4)
    field = space.type(*[space.regular_repr] * 2)
    hard = R2Conv(field, field, 3, frequencies_cutoff=2.0, basis_filter=other)
    assert kept_in_basis(soften(hard, 1.0)) == kept_in_basis(hard)


def test_softness_layer_by_layer() -> None:
    policies = {"0": 0.1, "[1-9]*": es.Cutoff(2.0), "*": 0.9}
    soft = soften(sequential(), 0.5, per_layer=policies)
    assert (soft[0].softness, soft[3].softness) == (0.1, es.Cutoff(2.0))
    soft = soften(sequential(), 0.5, per_layer={"3": {"frequencies_cutoff": None}})
    assert (soft[0].softness, soft[3].softness) == (0.5, 0.5)
    soft = soften(Classifier(), 0.5, per_layer={"again": 0.2})
    assert (soft.body[0].softness, soft.stem.softness) == (0.2, 0.5)


def test_filter() -> None:
    soft = soften(sequential(), 0.5, filter_fn=lambda module, name: name != "0")
    assert type(soft[0]) is R2Conv
    assert isinstance(soft[3], SoftR2Conv)
    soft = soften(soft, 0.1)  # the rest; what is soft keeps its softness
    assert [layer.softness for layer in es.soft_status(soft).layers] == [0.1, 0.5]


def test_layers_without_a_twin_are_listed_once() -> None:
    model = torch.nn.ModuleDict({"a": Tilted(IMAGE, HIDDEN, 3), "b": R2Conv(IMAGE, HIDDEN, 3), "c": nn.ReLU(HIDDEN)})
    model["d"] = R2Conv(IMAGE, HIDDEN, 3)
    model["d"].forward = model["d"].forward  # replaced, as some libraries do
    with pytest.warns(UserWarning, match="2 steerable layers hard:\n  a: Tilted has no soft twin\n  d: ") as caught:
        soft = soften(model, 0.5)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [type(soft[name]) for name in "abd"] == [Tilted, SoftR2Conv, R2Conv]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        soften(model, 0.5, on_unsupported="ignore")
        soften(model, 0.5, filter_fn=lambda module, name: name == "b")
    with pytest.raises(ArgumentError, match=r"all have a soft twin.*\n  a: Tilted has no soft twin"):
        soften(model, 0.5, on_unsupported="raise", inplace=True)
    assert type(model["b"]) is R2Conv


BAD = {
    "no module": (lambda m: soften(3, 0.5), ArgumentError, "a Module but got model=3"),
    "softness": (lambda m: soften(m, 1.5), SoftnessError, r"number in \[0, 1\] but got softness=1.5"),
    "softness of a layer": (lambda m: soften(m, 0.5, per_layer={"0": 2}), SoftnessError, "got softness=2"),
    "unused key": (
        lambda m: soften(m, 0.5, per_layer={"0": 0.1, "stem": 0.1}),
        ArgumentError,
        "of '0', '3' but got per_layer key='stem'",
    ),
    "key of a layer that stays": (lambda m: soften(m, 0.5, per_layer={"1": 0.1}), ArgumentError, "key='1'"),
    "per_layer": (lambda m: soften(m, 0.5, per_layer=[0.1]), ArgumentError, "a Mapping but got per_layer"),
    "option": (
        lambda m: soften(m, 0.5, per_layer={"0": {"rings": 3}}),
        ArgumentError,
        "options of SoftR2Conv.from_hard.*rings",
    ),
    "wrong option": (
        lambda m: soften(m, 0.5, per_layer={"0": {"frequencies_cutoff": 0.0}}),
        ArgumentError,
        "a layer with .* weights",
    ),
    "on_unsupported": (lambda m: soften(m, 0.5, on_unsupported="skip"), ArgumentError, "one of .*'warn'"),
    "filter_fn": (lambda m: soften(m, 0.5, filter_fn="0"), ArgumentError, "a function of a module and its name"),
    "nothing matched": (lambda m: soften(m, 0.5, filter_fn=lambda *_: False), ArgumentError, "Check filter_fn"),
    "nothing steerable": (lambda m: soften(torch.nn.ReLU(), 0.5), ArgumentError, "with hard steerable layers"),
    "soft already": (lambda m: soften(soften(m, 0.5), 0.5), ArgumentError, "use set_softness"),
    "two names": (
        lambda m: soften(Classifier(), 0.5, per_layer={"again": 0.1, "body.0": 0.2}),
        ArgumentError,
        "shared under the names 'body.0', 'again'",
    ),
    "nothing soft": (lambda m: harden(m), ArgumentError, "a model with soft layers"),
    "nothing to set": (lambda m: es.set_softness(m, 0.5), ArgumentError, "a model with soft layers"),
    "register no layer": (lambda m: register_soft(torch.nn.ReLU), ArgumentError, "a subclass of escnn.nn.Equivariant"),
    "register twice": (lambda m: register_soft(R2Conv), ArgumentError, "it has SoftR2Conv"),
    "register soft": (lambda m: register_soft(SoftR2Conv), ArgumentError, "not soft itself"),
    "register no twin": (lambda m: register_soft(Tilted)(SoftR2Conv), ArgumentError, "of SoftLayer and Tilted"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_change_nothing(name) -> None:
    call, kind, message = BAD[name]
    model = sequential()
    types = [type(m) for m in model.modules()]
    with pytest.raises(kind, match=message):
        call(model)
    assert [type(m) for m in model.modules()] == types


def test_containers_of_escnns_go_on_working() -> None:
    soft = disturb(soften(sequential(), 0.5)).eval()
    again = nn.SequentialModule(*soft)
    assert torch.equal(output(again), output(soft))
    assert torch.equal(output(soft[:3]), output(nn.SequentialModule(*list(soft)[:3])))
    exported = soft.export()
    assert (exported(PICTURES) - output(soft)).abs().max() < 1e-5
    assert soft.evaluate_output_shape((2, 3, 9, 9)) == (2, 3, 9, 9)
    types = nn.MultipleModule(HIDDEN, ["all"] * len(HIDDEN), [(R2Conv(HIDDEN, HIDDEN, 3), "all")])
    multiple = soften(types, 0.5)
    x = HIDDEN(torch.randn(1, HIDDEN.size, 5, 5))
    assert torch.allclose(multiple(x).tensor, types(x).tensor, atol=5e-6)


def test_soften_takes_less_than_a_third_of_a_second_a_layer() -> None:
    space = gspaces.rot2dOnR2(8)
    field = space.type(*[space.regular_repr] * 64)
    model = nn.SequentialModule(*(R2Conv(field, field, 5, initialize=False) for _ in range(3)))
    start = time.process_time()
    soften(model, 0.5)
    assert (time.process_time() - start) / len(model) < 0.3
