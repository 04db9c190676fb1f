"""Complete runs: blank slices, memory, provenance, and adding samples later."""

import hashlib

import numpy as np
import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan


def test_blank_border_slices_do_not_stop_a_volume(tiny_checkpoint):
    volume = np.random.default_rng(0).integers(0, 99, (4, 20, 20)).astype(np.uint8)
    volume[0] = 0
    assert segment(tiny_checkpoint(2), volume, n=2).n == 2
    with pytest.raises(LDSegError, match="same value everywhere"):
        segment(tiny_checkpoint(2), volume, n=2, frames=[(0,)])


def test_a_result_larger_than_memory_is_refused_before_it_is_allocated(tiny_checkpoint):
    huge = Scan(np.broadcast_to(np.uint8(1), (30_000, 30_000, 3_000)), name="huge")
    with pytest.raises(LDSegError, match=r"huge needs [\d.]+ GiB of memory"):
        PosteriorSampler(tiny_checkpoint(2), huge)


def test_provenance_has_the_hash_of_an_image_segmented_slice_by_slice(tiny_checkpoint):
    volume = np.random.default_rng(0).integers(0, 99, (3, 20, 20)).astype(np.uint8)
    posterior = segment(tiny_checkpoint(2), volume, n=2)
    assert posterior.provenance["image_sha256"] == hashlib.sha256(volume.tobytes()).hexdigest()


def test_samples_can_be_added_after_release(tiny_checkpoint):
    image = np.random.default_rng(0).integers(0, 99, (20, 24)).astype(np.uint8)
    sampler = PosteriorSampler(tiny_checkpoint(2), image, steps=4)
    list(sampler.run(2))
    before = dict(sampler.posterior.provenance)
    sampler.release()
    list(sampler.run(2))
    assert sampler.posterior.n == 4 and sampler.posterior.provenance == before
    expected = segment(tiny_checkpoint(2), image, n=4, steps=4)
    np.testing.assert_allclose(sampler.posterior.sample_sd, expected.sample_sd, atol=1e-5)


def test_the_image_hash_is_kept_when_a_single_sample_is_drawn_again(tiny_checkpoint):
    image = np.random.default_rng(0).integers(0, 99, (20, 24)).astype(np.uint8)
    sampler = PosteriorSampler(tiny_checkpoint(2), image)
    list(sampler.run(1))
    digest = sampler.posterior.provenance["image_sha256"]
    list(sampler.run(2))
    assert sampler.posterior.provenance["image_sha256"] == digest
