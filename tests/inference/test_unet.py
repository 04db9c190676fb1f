"""A U-Net checkpoint is saved, loaded and used like any other, though it is deterministic."""

import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.inherit import inherit
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.finetuning.plan import settings_for
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.model.fast import inference_copy
from napari_ldseg.training.loop import train

from ..model.test_fast import randomise
from ..training.test_diffdgss import CASES
from ..training.test_learning import UNET
from .test_diffdgss import FIELDS, photograph  # noqa: F401

ONCE = {"label_steps": 1, "posterior_steps": 1}
TURNED = {"augmentation.flip_axes": "[0, 1]", "augmentation.rotation": "3.14"}


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    torch.manual_seed(0)
    training = FIELDS["training"] | {"settings": TURNED}
    metadata = Metadata.model_validate(FIELDS | UNET | ONCE | {"training": training})
    made = Checkpoint(metadata, randomise(build_model(metadata)))
    return load_checkpoint(save_checkpoint(made, tmp_path / "vessels.safetensors"))


def test_samples_are_the_answers_for_the_turned_photograph(checkpoint, photograph):  # noqa: F811
    image, disc = photograph
    latents = PosteriorSampler(checkpoint, image).latents(9)
    assert torch.equal(latents[0], latents[8])
    assert len({tuple(z.flatten()[::97].tolist()) for z in latents}) == 8
    posterior = segment(checkpoint, image, n=8)
    assert posterior.labels.shape == (90, 120) and (posterior.labels[:, :10] == 0).all()
    assert posterior.sample_sd[:, :10].max() < 1e-3 < posterior.sample_sd[disc].mean()
    # The label map is the mean of the same eight answers, however many samples are drawn.
    np.testing.assert_array_equal(posterior.labels, posterior.mean_probability.argmax(0))
    one = segment(checkpoint, image, n=1)
    np.testing.assert_array_equal(posterior.labels, one.labels)
    np.testing.assert_allclose(one.probability, posterior.mean_probability, atol=1e-3)
    np.testing.assert_allclose(segment(checkpoint, image, n=3).probability, one.probability)


def test_each_answer_is_computed_once(checkpoint, photograph, monkeypatch):  # noqa: F811
    sampler = PosteriorSampler(checkpoint, photograph[0])
    encode, asked = sampler._model.encode_image, []
    monkeypatch.setattr(sampler._model, "encode_image", lambda x: asked.append(x) or encode(x))
    list(sampler.run(10))
    assert sum(len(images) for images in asked) == 8
    monkeypatch.setattr("napari_ldseg.inference.sampler.ANSWERS_BYTES", 0)
    np.testing.assert_array_equal(
        sampler.posterior.mean_probability,
        segment(checkpoint, photograph[0], n=10).mean_probability,
    )


def test_a_photograph_turned_by_a_quarter_gets_the_turned_labels(checkpoint, photograph):  # noqa: F811
    image, _ = photograph
    turned = segment(checkpoint, np.rot90(image).copy(), n=1).labels
    assert (np.rot90(segment(checkpoint, image, n=1).labels) != turned).mean() < 0.01


def test_the_faster_copy_gives_the_same_for_any_size(checkpoint):
    image = torch.rand(1, 3, 37, 50)
    image[..., :6] = 0
    with torch.inference_mode():
        expected = checkpoint.model.encode_image(image)
        found = inference_copy(checkpoint.model).encode_image(image)
    assert expected.shape == (1, 2, 37, 50) and expected[..., 6:].std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (expected[:, 0, :, :6] > 5).all() and (expected[:, 1, :, :6] < -5).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": "res-unet"}, "patch is for unet"),
        ({"architecture": UNET["architecture"] | {"patch": 3}}, "patch must be 1"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Metadata.model_validate(FIELDS | UNET | changes)


def test_a_model_with_a_new_class_begins_with_the_known_ones(checkpoint):
    known = checkpoint.metadata.classes
    fields = checkpoint.metadata.model_dump()
    fields["classes"] = (known[0], {"name": "optic disc", "colour": "#00ff00"}, known[1])
    fields["architecture"] |= {"classes": 3}
    larger = Metadata.model_validate(fields)
    model = build_model(larger).eval()
    inherit(model, larger, checkpoint)
    image = torch.rand(1, 3, 32, 40)
    with torch.inference_mode():
        found, old = model.encode_image(image), checkpoint.model.encode_image(image)
    torch.testing.assert_close(found[:, [0, 2]], old)


def test_it_is_retrained_as_a_whole_on_parts_as_large_as_its_own(checkpoint):
    record = checkpoint.metadata.training
    base = checkpoint.metadata.model_copy(
        update={"training": record.model_copy(update={"settings": TURNED | {"patch": 32}})}
    )
    given = settings_for("quick", base, base)
    assert (given.patch, given.fixed) == (32, ())
    settings = given.model_copy(update={"updates": 2, "warmup": 1})
    made = train(base, CASES, [], settings, start=checkpoint)
    pairs = zip(made.model.parameters(), checkpoint.model.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)
