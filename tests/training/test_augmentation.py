"""After each random change image and label still match, on phantoms in 2D and 3D."""

import numpy as np
import pytest
import torch
from phantoms import echo_phantom, mri_phantom

from napari_ldseg.training.augmentation import build_augmentation

from ..discs import STILL

SPATIAL = {
    "rotation": 0.4,
    "scale": 0.25,
    "shift": 6.0,
    "elastic": 6.0,
    "flip_axes": (0,),
}
INTENSITY = {"contrast": 0.5, "noise": 0.1, "blur": 1.5}


def changed(dims, image, label, **changes):
    """Apply one kind of change eight times, from eight seeds."""
    change = build_augmentation(STILL.model_copy(update=changes), dims)
    results = []
    for seed in range(8):
        change.set_random_state(seed=seed)
        sample = change({"image": torch.from_numpy(image), "label": torch.from_numpy(label)})
        results.append([np.asarray(torch.as_tensor(sample[key])) for key in ("image", "label")])
    return results


@pytest.fixture(scope="module", params=[2, 3])
def phantom(request):
    made = echo_phantom(3) if request.param == 2 else mri_phantom(3)
    return request.param, made.label[None].astype(np.uint8)


@pytest.mark.parametrize("kind", SPATIAL)
def test_spatial_changes_move_image_and_label_together(phantom, kind):
    """The image is the label's foreground, so it must stay so wherever it is moved."""
    dims, label = phantom
    foreground = (label > 0).astype(np.float32)
    moved = []
    for image, found in changed(dims, foreground, label, **{kind: SPATIAL[kind]}):
        agreement = ((image > 0.5) == (found > 0)).mean()
        assert agreement > 0.985, kind
        assert set(np.unique(found)) <= set(np.unique(label)) and (found > 0).any()
        moved.append(((found > 0) != (label > 0)).mean())
    assert max(moved) > 0.01, "nothing ever moved"


@pytest.mark.parametrize("kind", INTENSITY)
def test_intensity_changes_leave_the_label_alone(phantom, kind):
    dims, label = phantom
    image = 0.2 + 0.6 * (label > 0).astype(np.float32)
    image += np.random.default_rng(0).uniform(-0.1, 0.1, image.shape).astype(np.float32)
    differences = []
    for found, kept in changed(dims, image, label, **{kind: INTENSITY[kind]}):
        np.testing.assert_array_equal(kept, label)
        assert found[label > 0].mean() > found[label == 0].mean() + 0.1
        differences.append(np.abs(found - image).max())
    assert max(differences) > 0.02


def test_stain_jitter_changes_colours_not_places():
    """Two stains side by side keep their border and their order."""
    label = np.zeros((1, 24, 24), np.uint8)
    label[:, :, 12:] = 1
    purple, pink = np.array([0.45, 0.30, 0.60]), np.array([0.90, 0.60, 0.75])
    image = np.where(label, purple[:, None, None], pink[:, None, None]).astype(np.float32)
    colours = []
    for found, kept in changed(2, image, label, stain=0.3):
        np.testing.assert_array_equal(kept, label)
        assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
        for side in (0, 1):
            inside = found[:, label[0] == side]
            assert np.ptp(inside, axis=1).max() < 1e-5
        assert found[:, 0, 20].mean() < found[:, 0, 3].mean()
        colours.append(tuple(found[:, 0, 20]))
    assert len(set(colours)) == 8
    assert np.ptp(np.array(colours), axis=0).max() > 0.03
