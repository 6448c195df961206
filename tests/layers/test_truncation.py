"""What a rank leaves out is said; a state without factors serves."""

import warnings

import pytest
import torch

import escnn_soft as es
from escnn_soft.grading import LowRank
from escnn_soft.layers.truncation import complete_factors, truncated
from tests.cases import point

D3 = point("D3")
FIELD = D3.type(*[D3.regular_repr] * 3)


def layer(rank: int | None = 1) -> es.SoftLinear:
    return es.SoftLinear(FIELD, FIELD, softness=1.0, rank=rank).double()


def low_rank(rank: int = 1) -> LowRank:
    return LowRank.of(layer(None)._transform.soft, rank)


@pytest.mark.parametrize(("whole", "of"), [(None, "the soft coefficients"), (500.0, "the weight")])
def test_what_is_left_out_is_said_relative_to_the_norm(whole, of) -> None:
    layout = low_rank()
    wanted = torch.randn(layout.dim, dtype=torch.float64)
    with pytest.warns(
        UserWarning, match=rf"rank=1 leaves [\d.e-]+ of the norm of {of} out: .*another function"
    ) as seen:
        found = truncated(layout, wanted, layout.drawn(wanted), whole)
    missing = float((layout.coefficients(*found) - wanted).norm() / (whole or wanted.norm()))
    assert float(str(seen[0].message).split()[2]) == pytest.approx(missing, rel=0.05)


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    layout = low_rank(2)
    kernels, out, into = (torch.randn(sum(sizes), dtype=torch.float64) for sizes in layout.sizes)
    wanted = layout.coefficients(kernels, out, into)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        truncated(layout, wanted, layout.drawn(wanted))
        truncated(layout, torch.zeros_like(wanted), (out, into), 0.0)


def test_a_state_is_completed_where_it_has_no_factors_alone() -> None:
    layout, ranked = low_rank(), layer()
    hard = {"weights": ranked.weights.detach()}
    complete_factors(layout, hard, "", ranked)
    assert not hard["soft_weights"].any()
    assert hard["soft_out"].shape == ranked.soft_out.shape
    own = dict(ranked.state_dict())
    kept = dict(own)
    complete_factors(layout, own, "", ranked)
    assert all(own[name] is kept[name] for name in kept)
    other = {"weights": hard["weights"], "soft_weights": torch.zeros(3)}
    complete_factors(layout, other, "", ranked)
    assert other.keys() == {"weights", "soft_weights"}  # torch says what does not fit
    part: dict[str, torch.Tensor] = {}
    complete_factors(layout, part, "", ranked)
    assert not part
