"""Cross entropy, Dice and noise loss against numbers worked out by hand."""

import math

import pytest
import torch

from napari_ldseg.checkpoint.file import build_model
from napari_ldseg.model.losses import segmentation_loss, training_loss


def logits_of(probabilities):
    """Logits (batch, classes, 1, pixels) whose softmax is ``probabilities`` (batch, classes, pixels)."""
    return torch.tensor(probabilities)[:, :, None].log()


def one_hot(values, classes):
    label = torch.tensor(values)[:, None]
    return torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()


def test_two_classes_by_hand():
    logits = logits_of([[[0.2, 0.6], [0.8, 0.4]]])
    cross_entropy, dice = segmentation_loss(logits, one_hot([[1, 0]], 2))
    # -(ln 0.8 + ln 0.6) / 2
    assert cross_entropy.item() == pytest.approx(0.366985, abs=1e-5)
    # foreground: overlap 0.8, sum of p 1.2, sum of y 1: 1 - (1.6 + 1) / (2.2 + 1)
    assert dice.item() == pytest.approx(0.1875, abs=1e-5)


def test_three_classes_by_hand():
    logits = logits_of([[[0.1, 0.2, 0.5], [0.6, 0.3, 0.25], [0.3, 0.5, 0.25]]])
    cross_entropy, dice = segmentation_loss(logits, one_hot([[1, 2, 0]], 3))
    # -(ln 0.6 + ln 0.5 + ln 0.5) / 3
    assert cross_entropy.item() == pytest.approx(0.632373, abs=1e-5)
    # class 1: 1 - (1.2 + 1) / (1.15 + 1 + 1) = 0.301587; class 2: 1 - (1 + 1) / (1.05 + 2) = 0.344262
    assert dice.item() == pytest.approx((0.301587 + 0.344262) / 2, abs=1e-5)


def test_dice_is_per_sample_not_pooled():
    logits = logits_of([[[0.2, 0.2], [0.8, 0.8]], [[0.9, 0.9], [0.1, 0.1]]])
    _, dice = segmentation_loss(logits, one_hot([[1, 1], [1, 0]], 2))
    # 1 - (3.2 + 1) / (1.6 + 2 + 1) = 0.0869565; 1 - (0.2 + 1) / (0.2 + 1 + 1) = 0.4545455
    assert dice.item() == pytest.approx((0.0869565 + 0.4545455) / 2, abs=1e-5)


def test_dice_ignores_the_background():
    """Additional background does not change the Dice loss."""
    small = logits_of([[[0.2], [0.8]]])
    padded = logits_of([[[0.2] + [1 - 1e-9] * 50, [0.8] + [1e-9] * 50]])
    _, dice = segmentation_loss(small, one_hot([[1]], 2))
    _, with_background = segmentation_loss(padded, one_hot([[1] + [0] * 50], 2))
    # 1 - (1.6 + 1) / (0.8 + 1 + 1)
    assert dice.item() == pytest.approx(0.0714286, abs=1e-5)
    assert with_background.item() == pytest.approx(dice.item(), abs=1e-5)


@pytest.mark.parametrize("p, expected", [(0.5, 1 - 1 / 2), (0.25, 1 - 1 / 1.5), (1e-12, 0.0)])
def test_the_dice_loss_of_an_absent_class_depends_on_its_predicted_voxels(p, expected):
    logits = logits_of([[[1 - p, 1 - p], [p, p]]])
    _, dice = segmentation_loss(logits, one_hot([[0, 0]], 2))
    assert dice.item() == pytest.approx(expected, abs=1e-5)


def test_losses_of_a_perfect_prediction_vanish_in_3d():
    label = torch.nn.functional.one_hot(torch.arange(27).reshape(1, 3, 3, 3) % 4, 4)
    label = label.movedim(-1, 1).float()
    cross_entropy, dice = segmentation_loss(label * 50, label)
    assert cross_entropy.item() < 1e-6 and abs(dice.item()) < 1e-6


@pytest.fixture
def zero_model(tiny_metadata):
    """Factory of a model whose denoiser always predicts zero."""

    def make(parametrisation):
        model = build_model(tiny_metadata(parametrisation=parametrisation)).eval()
        torch.nn.init.zeros_(model.denoiser.out.weight)
        torch.nn.init.zeros_(model.denoiser.out.bias)
        return model

    return make


def batch():
    image = torch.linspace(0, 1, 512).reshape(2, 1, 16, 16)
    disc = (image > 0.4).long()[:, 0]
    return image, torch.nn.functional.one_hot(disc, 2).movedim(-1, 1).float()


def test_noise_loss_of_the_plain_difference(zero_model):
    """The denoiser predicts 0 where the noise is 2 everywhere: the loss is 4 at every time."""
    noise = torch.full((2, 2, 4, 4), 2.0)
    terms = training_loss(zero_model("plain-difference"), *batch(), torch.tensor([10, 900]), noise)
    assert terms.noise.item() == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize("t, weight", [(0, 1.0), (999, 2.43e-6)])
def test_noise_loss_of_the_velocity(zero_model, t, weight):
    """The target is sqrt(a) eps - sqrt(1 - a) z_0: noise at t = 0, the standardised latent at T."""
    model = zero_model("velocity")
    noise = torch.full((2, 2, 4, 4), 2.0)
    terms = training_loss(model, *batch(), torch.tensor([t, t]), noise)
    expected = weight * 4 + (1 - weight)
    assert terms.noise.item() == pytest.approx(expected, abs=1e-2)


def test_total_is_the_weighted_sum(zero_model):
    model = zero_model("velocity")
    noise = torch.randn(2, 2, 4, 4)
    arguments = (model, *batch(), torch.tensor([300, 600]), noise)
    for gamma, lambda_ in [(2.0, 1.0), (0.5, 3.0), (0.0, 0.0)]:
        terms = training_loss(*arguments, gamma, lambda_)
        expected = terms.cross_entropy + gamma * terms.dice + lambda_ * terms.noise
        assert terms.total.item() == pytest.approx(expected.item(), rel=1e-6)
    default = training_loss(*arguments)
    assert default.total.item() == pytest.approx(training_loss(*arguments, 2.0, 1.0).total.item())
    assert math.isfinite(default.total.item())


@pytest.mark.parametrize("parametrisation", ["velocity", "plain-difference"])
def test_one_loss_reaches_all_four_networks(tiny_metadata, parametrisation):
    model = build_model(tiny_metadata(parametrisation=parametrisation))
    terms = training_loss(model, *batch(), torch.tensor([300, 600]), torch.randn(2, 2, 4, 4))
    terms.total.backward()
    for network in ("label_encoder", "image_encoder", "denoiser", "label_decoder"):
        gradients = [p.grad for p in getattr(model, network).parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)
        assert sum(float(g.abs().sum()) for g in gradients) > 0
