"""Which licences forbid commercial use."""

import pytest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.licence import is_non_commercial


@pytest.mark.parametrize(
    "licence",
    [
        "CC BY-NC-SA 4.0",
        "cc by nc 4.0",
        "CC-BY-NC-ND-3.0",
        "Creative Commons Attribution-NonCommercial 4.0",
        "research, non-commercial",
        "Non Commercial use",
        "research only",
        "LicenseRef-GlaS-research-only",
        "For research use only.",
        "for research purposes only",
        "Only for research",
        "academic use only",
        "Not for commercial use",
        "no commercial use",
        "Commercial use is not allowed",
        "Commercial uses are prohibited",
    ],
)
def test_wordings_that_forbid_commercial_use(licence):
    assert is_non_commercial(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "not stated",
        "Not stated; ask the authors before you pass the weights on.",
        "CC BY 3.0",
        "CC BY-SA 4.0",
        "CC0-1.0",
        "MIT",
        "BSD-3-Clause (synthetic images from this project's own generator)",
        "NCSA",
        "Commercial use is allowed",
        "for research and commercial use",
    ],
)
def test_wordings_that_do_not(licence):
    assert not is_non_commercial(licence)


def test_bundled_models():
    found = {
        name
        for name, path in bundled_checkpoints().items()
        if is_non_commercial(read_metadata(path).training.licence)
    }
    assert found == {"camus", "glas", "retina-disc-cup", "retina-vessels"}
