"""DiffDGSS: inversions, frequency-aware fusion and the model as a whole, on small random networks."""

from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from napari_ldseg.model.diffdgss.freq_fusion import FreqFusion, carafe
from napari_ldseg.model.diffdgss.inversion import features_over_times
from napari_ldseg.model.diffdgss.model import DiffDGSS
from napari_ldseg.model.diffdgss.sizes import PAPER_SIZES, DiffDGSSSizes

SMALL = {"widths": (8, 8, 12), "times": (1, 50, 500), "expert_width": 8, "kernel_width": 4}


def small(**changes) -> DiffDGSS:
    torch.manual_seed(0)
    return DiffDGSS(DiffDGSSSizes(**SMALL | changes)).eval()


def picture(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_reassembly_is_each_output_pixels_own_weighted_mean_of_the_coarse_pixels_around_it():
    x = torch.rand(2, 3, 4, 5)
    kernels = torch.rand(2, 9, 8, 10)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    expected = torch.zeros(2, 3, 8, 10)
    for row in range(8):
        for column in range(10):
            top, left = row // 2, column // 2
            around = padded[:, :, top : top + 3, left : left + 3].flatten(2)
            expected[:, :, row, column] = (around * kernels[:, None, :, row, column]).sum(2)
    torch.testing.assert_close(carafe(x, kernels, 3, scale=2), expected)


def test_fusion_leaves_flat_maps_flat():
    fused = FreqFusion(8, 4)(torch.full((1, 8, 4, 4), 2.0), torch.full((1, 8, 8, 8), 5.0))
    torch.testing.assert_close(fused, torch.full((1, 8, 8, 8), 7.0))


def test_anchored_features_of_a_time_depend_on_no_other_time_and_chained_ones_do():
    model, x = small(), picture(16, 16)

    def last(inversion, times):
        with torch.no_grad():
            every = features_over_times(model.diffusion, x, times, model.schedule, inversion)
            return list(every)[-1][-1]

    torch.testing.assert_close(last("anchored", (1, 500)), last("anchored", (1, 50, 500)))
    assert (last("chained", (1, 500)) - last("chained", (1, 50, 500))).abs().max() > 1e-3
    torch.testing.assert_close(last("chained", (50,)), last("anchored", (50,)))


def test_features_are_made_one_time_after_the_other():
    model, seen = small(), []
    model.diffusion.stem.register_forward_hook(lambda *_: seen.append(1))
    every = features_over_times(model.diffusion, picture(16, 16), (1, 2, 3), model.schedule)
    list(islice(every, 1))
    assert len(seen) == 1


def test_noised_features_change_with_the_noise_alone():
    model, x = small(inversion="noised"), picture(16, 16)
    first, second = torch.randn(2, *x.shape)
    with torch.no_grad():
        assert torch.equal(model(x, lambda t: first), model(x, lambda t: first))
        assert not torch.equal(model(x, lambda t: first), model(x, lambda t: second))
    with pytest.raises(ValueError, match="noise"):
        model(x)


@pytest.mark.parametrize("changes", [{}, {"patch": 1}, {"inversion": "chained", "blocks": 2}])
def test_any_image_size_gives_logits_of_its_own_size(changes):
    model, x = small(**changes), picture(21, 30)
    assert model(x).shape == (1, 2, 21, 30)
    assert model.logits_at(x, 2).shape == (1, 2, 21, 30)


def test_the_logits_of_a_time_are_the_same_alone_and_among_all():
    for inversion in ("anchored", "chained"):
        model, x = small(inversion=inversion), picture(16, 16)
        with torch.no_grad():
            torch.testing.assert_close(model.logits_at(x, 1), model.logits_over_times(x)[:, 1])


def test_training_the_interpreter_leaves_the_diffusion_network_as_it_is():
    model = small()
    model.logits_at(picture(16, 16), 1).mean().backward()
    assert all(p.grad is None for p in model.diffusion.parameters())
    assert any(p.grad is not None for p in model.interpreter.expert.parameters())


def test_a_few_updates_of_the_diffusion_network_reduce_its_error():
    model, x = small(), picture(16, 16)
    optimiser = torch.optim.Adam(model.diffusion.parameters(), 3e-3)
    t, noise = torch.tensor([300]), torch.randn(x.shape)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        losses.append(model.diffusion_loss(x, t, noise))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_the_papers_sizes_can_be_built():
    with torch.device("meta"):
        model = DiffDGSS(PAPER_SIZES)
    assert PAPER_SIZES.stride == 64
    assert sum(p.numel() for p in model.diffusion.parameters()) > 100e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": (50, 1)}, "increasing"),
        ({"times": (0, 50)}, "times must be"),
        ({"widths": (8, 8)}, "widths"),
        ({"patch": 4}, "patch"),
        ({"inversion": "inverse"}, "inversion"),
        ({"attention": (7,)}, "attention"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DiffDGSSSizes(**changes)
