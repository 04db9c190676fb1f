"""The one-page report of a case."""

from dataclasses import replace

import numpy as np
import pytest

from napari_ldseg.export import report
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


def test_it_is_titled_by_the_case_and_shows_where_the_model_is_unsure(tmp_path, monkeypatch):
    shown = []
    plot = report._plot
    monkeypatch.setattr(report, "_plot", lambda *a: (shown.append(a[2:]), plot(*a))[1])
    result = cases.volume()
    unsure, spread = (np.full(result.scan.shape, sd, np.float32) for sd in (0.4, 0.1))
    page = write_report(tmp_path / "case.html", result, "knee 7", unsure, spread)
    text = page.read_text(encoding="utf-8")
    assert "<title>knee 7: segmentation" in text and "<h1>knee 7</h1>" in text
    write_report(tmp_path / "case.html", result, "knee 7", sample_sd=spread)
    write_report(tmp_path / "case.html", result, "knee 7")
    assert [title for _, title in shown] == ["uncertainty", "sample SD", "no uncertainty"]
    assert [sd.max() for sd, _ in shown] == pytest.approx([0.4, 0.1, 0])


def test_a_photograph_has_pixels_and_no_slices(tmp_path):
    page = write_report(tmp_path / "case.html", cases.picture(), "eye").read_text(encoding="utf-8")
    assert "pixels" in page and "voxels," not in page and "slices" not in page


def test_it_says_that_the_expected_error_does_not_rank_cases(tmp_path):
    ranking = "The expected error does not rank cases: its rank correlation was 0.22."
    result = cases.volume()
    summary = {**result.summary, "expected_error": 0.1, "expected_error_ranking": ranking}
    page = write_report(tmp_path / "case.html", replace(result, summary=summary), "case")
    assert ranking in page.read_text(encoding="utf-8")
