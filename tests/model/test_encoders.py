"""Label encoders without weights: signed distances, and diffusion at the image's full size."""

import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.evaluation.overlap import evaluate
from napari_ldseg.inference.segment import segment
from napari_ldseg.model.architecture import Architecture
from napari_ldseg.model.blocks import standardise
from napari_ldseg.model.networks import SignedDistanceLabel, signed_distances
from napari_ldseg.training.loop import train

from ..discs import WIDTHS, disc, discs, settings

DISTANCES = {"label_encoder": "signed-distance"}
FULL_SIZE = {
    "label_widths": (8,),
    "image_widths": (8,),
    "label_encoder": "nearest",
    "image_encoder": "nearest",
    "denoiser_widths": (8, 16, 16),
    "denoiser_attention": (2,),
}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def test_signed_distances_by_hand():
    label = np.zeros((1, 24), np.uint8)
    label[0, 4:7] = 1
    label[0, 12:] = 2
    background, small, large, absent = signed_distances(label, 4)
    np.testing.assert_allclose(
        small[0, :9] * 8, [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 0.5, -0.5, -1.5]
    )
    np.testing.assert_allclose(large[0, 10:14] * 8, [-1.5, -0.5, 0.5, 1.5])
    np.testing.assert_allclose(background[0, 5:9] * 8, [-1.5, -0.5, 0.5, 1.5])
    assert (large[0, :4] == -1).all() and (large[0, 20:] == 1).all()  # truncated at 8 cells
    assert (absent == -1).all()
    assert (signed_distances(np.ones((3, 3)), 2) == np.reshape([-1, 1], (2, 1, 1))).all()


@pytest.mark.parametrize("device", DEVICES)
def test_an_embedding_is_the_standardised_distances_at_the_cells(device):
    arch = Architecture(2, 1, 3, **DISTANCES, latent_channels=3)
    values = torch.randint(0, 3, (2, 64, 48), generator=torch.Generator().manual_seed(0))
    label = torch.nn.functional.one_hot(values, 3).movedim(-1, 1).float().to(device)
    z = SignedDistanceLabel(arch)(label.requires_grad_())
    assert z.device.type == device and z.shape == (2, *arch.latent_shape((64, 48)))
    assert z.dtype == torch.float32 and not z.requires_grad
    maps = np.array([signed_distances(v[8::16, 8::16].numpy(), 3) for v in values])
    torch.testing.assert_close(z.cpu(), standardise(torch.from_numpy(maps)))


def test_signed_distances_have_a_channel_per_class():
    with pytest.raises(ValueError, match="3 latent channels, one per class, not 2"):
        Architecture(2, 1, 3, **DISTANCES, latent_channels=2)
    with pytest.raises(ValueError, match="'learned', 'nearest' or 'signed-distance'"):
        Architecture(2, 1, 3, label_encoder="distance")
    with pytest.raises(ValueError, match="image_encoder must be 'learned' or 'nearest'"):
        Architecture(2, 1, 3, image_encoder="signed-distance")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "architecture", "updates"),
    [(2, WIDTHS | DISTANCES, 100), (2, FULL_SIZE, 150), (3, FULL_SIZE, 3)],
    ids=["signed distances", "full size", "full size in 3D"],
)
def test_they_are_trained_and_used_like_the_others(
    disc_metadata, tmp_path, dims, architecture, updates
):
    base = disc_metadata(dims)
    sizes = vars(base.architecture) | architecture | {"dropout": 0.0}
    metadata = base.model_copy(update={"architecture": Architecture(**sizes)})
    trained = train(metadata, discs(dims), [], settings(updates=updates, batch_size=8))
    loaded = load_checkpoint(save_checkpoint(trained, tmp_path / "model.safetensors"))
    scan, _ = disc(dims, 3)
    odd = scan.array[1:, :-2]
    posterior = segment(loaded, odd, n=2)
    assert posterior.labels.shape == odd.shape
    if updates > 50:
        assert np.nanmean(evaluate(loaded, discs(dims), steps=5)[:, 0]) > 0.8
