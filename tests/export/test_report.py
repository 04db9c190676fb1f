"""The one-page report of a case."""

from dataclasses import replace

import numpy as np

from napari_ldseg.export.report import write_report

from . import cases


def test_sizes_of_a_sheared_scan_are_those_of_its_voxels(tmp_path):
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[1, 2] = (
        4  # a tilted gantry: each slice is shifted, so the slice axis is longer than 5 mm
    )
    result = cases.volume(affine=affine)
    page = write_report(tmp_path / "case.html", result, "case").read_text(encoding="utf-8")
    count = int((np.asarray(result.labels) == min(result.classes)).sum())
    assert f"{count * 20 / 1000:.3g} mL" in page


def test_a_model_without_calibration_warns_of_an_image_unlike_its_training_images(tmp_path):
    warning = "This image is unlike the images that tiny was trained on (distance 9): check every contour."
    result = cases.volume()
    result = replace(result, summary={**result.summary, "warning": warning, "calibrated": {}})
    page = write_report(tmp_path / "case.html", result, "case").read_text(encoding="utf-8")
    assert warning in page


def test_it_says_that_the_expected_error_does_not_rank_cases(tmp_path):
    ranking = "The expected error does not rank cases: its rank correlation was 0.22."
    result = cases.volume()
    summary = {**result.summary, "expected_error": 0.1, "expected_error_ranking": ranking}
    page = write_report(tmp_path / "case.html", replace(result, summary=summary), "case")
    assert ranking in page.read_text(encoding="utf-8")
