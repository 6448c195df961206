"""Networks of plain torch modules."""

from __future__ import annotations

import pytest
import torch
from escnn import gspaces, nn

import escnn_soft as es
from escnn_soft.errors import ArgumentError
from escnn_soft.export import plain, save_program
from tests.cli.test_convert import soft
from tests.convert.models import IMAGE, PICTURES, Classifier, output
from tests.kinds import KINDS, POINT_KINDS, example, value
from tests.workflows.carriers import filled


def test_plain_networks_hold_nothing_of_escnns_layers() -> None:
    for build in (soft, Classifier):
        model = build().eval()
        expected = output(model).detach()
        network = plain(model)
        assert (network(PICTURES) - expected).abs().max() < 1e-5
        assert not any(hasattr(module, "basisexpansion") for module in network.modules())
        assert any(hasattr(module, "basisexpansion") for module in model.modules())  # it stays as it is
    assert network.again is network.body[0]


def test_layers_without_an_export_stay() -> None:
    class Norm(nn.IdentityModule):
        def export(self):
            raise NotImplementedError

    model = torch.nn.ModuleDict({"norm": Norm(IMAGE), "act": nn.ReLU(IMAGE)})
    network = plain(model)
    assert isinstance(network["norm"], Norm)
    assert not isinstance(network["act"], nn.ReLU)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in POINT_KINDS])
def test_every_kind_becomes_plain_and_stays_as_it_is(kind) -> None:
    model = filled(KINDS[kind]()).eval()
    expected = value(model)
    x = example(model)
    network = plain(model)
    with torch.no_grad():
        y = network(getattr(x, "tensor", x))
    assert torch.allclose(y, expected, atol=1e-5)
    assert not es.layers.dials(network)
    assert torch.equal(value(model), expected)


def test_a_file_that_is_there_stays_if_the_new_one_is_wrong(tmp_path) -> None:
    path = tmp_path / "net.pt2"
    path.write_text("old")
    with pytest.raises(ArgumentError, match="difference"):
        save_program(soft(), PICTURES, path, "export", tolerance=0.0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert save_program(soft(), PICTURES, path, "export") < 1e-5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("net.pt", "pickle"), "one of 'export', 'onnx', 'torchscript'"),
        (("no/net.pt", "export"), "an existing folder"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, monkeypatch, arguments, expected) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=expected):
        save_program(soft(), PICTURES, *arguments)


@pytest.mark.parametrize(
    ("x", "expected"), [(PICTURES[:1], "at least two"), (PICTURES[:, :0], "that the network takes")]
)
def test_wrong_inputs_are_refused(tmp_path, x, expected) -> None:
    model = soft().train()
    with pytest.raises(ArgumentError, match=expected):
        save_program(model, x, tmp_path / "net.pt2", "export")
    assert model.training


def test_modes_of_parts_are_kept(tmp_path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3)).train()
    model[1].eval()
    save_program(model, torch.randn(2, 1, 7, 7), tmp_path / "net.pt2", "export")
    assert [module.training for module in model.modules()] == [True, True, False]


def test_whole_numbers_are_refused(tmp_path) -> None:
    class Argmax(torch.nn.Module):
        def forward(self, x):
            return x.argmax(1)

    with pytest.raises(ArgumentError, match="in floating point"):
        save_program(Argmax(), PICTURES, tmp_path / "net.pt2", "export")


@pytest.mark.parametrize("softness", [0.3, es.Budget(0.2)], ids=str)
def test_torchs_own_exporter_takes_softened_plain_models(softness) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)).eval()
    soft = es.soften(model, softness, gspace=gspaces.rot2dOnR2(4)).eval()
    x = torch.randn(1, 1, 5, 5)
    program = torch.onnx.export(soft, (x,), dynamo=True, verbose=False)
    assert program is not None
    assert torch.allclose(program(x)[0], soft(x), atol=1e-5)
