"""Sizes with intervals in which known voxels are exact, diameters, loops and rows."""

import csv
import io

import numpy as np
import pytest

from napari_ldseg.inference.calibration import volume_interval
from napari_ldseg.review.measurements import (
    CALIBRATED,
    COLUMNS,
    OF_SAMPLES,
    count_voxels,
    find_diameters,
    measure_classes,
    measure_loop,
    to_rows,
)

NAMES = ("background", "anterior", "posterior")


def square(side, shape=(20, 20), value=1):
    labels = np.zeros(shape, np.uint8)
    labels[..., 2 : 2 + side, 2 : 2 + side] = value
    return labels


def ellipse(radii, angle, spacing, shape=(160, 160)):
    """An ellipse with ``radii`` in mm, turned by ``angle`` in degrees."""
    y, x = (
        (g - n / 2 + 0.3) * s for g, n, s in zip(np.indices(shape), shape, spacing, strict=True)
    )
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return ((x * c + y * s) / radii[0]) ** 2 + ((y * c - x * s) / radii[1]) ** 2 <= 1


def test_known_voxels_are_the_same_in_every_sample():
    labels = square(4)
    samples = [square(side) for side in (2, 4, 6)]
    known = np.zeros(labels.shape, bool)
    known[:5] = True  # three of the square's four rows
    own, counts = count_voxels(labels, iter(samples), 2, known)
    assert own.tolist() == [400 - 16, 16]
    assert counts[:, 1].tolist() == [12 + 0, 12 + 4, 12 + 18]
    assert count_voxels(labels, samples, 2)[1][:, 1].tolist() == [4, 16, 36]


def test_the_interval_is_of_the_samples_and_has_no_width_where_all_is_known():
    labels = square(4)
    samples = [square(side) for side in (2, 3, 4, 5, 6)]
    first = measure_classes(labels, NAMES[:2], (0.5, 2.0), samples)[0]
    assert first.size == 16 and first.name == "anterior"
    assert first.interval.meaning == OF_SAMPLES
    quantiles = np.quantile([4, 9, 16, 25, 36], (0.025, 0.975))
    assert (first.interval.low, first.interval.high) == pytest.approx(tuple(quantiles))
    assert first.sample_sizes == (4, 9, 16, 25, 36)
    known = np.ones(labels.shape, bool)
    exact = measure_classes(labels, NAMES[:2], (0.5, 2.0), samples, known)[0]
    assert exact.interval.low == exact.interval.high == exact.size == 16


def test_a_size_is_never_outside_its_interval():
    smaller = [square(side) for side in (2, 2, 3)]
    one = measure_classes(square(4), NAMES[:2], (1.0, 1.0), smaller)[0]
    assert one.size == one.interval.high == 16 and one.interval.low < 9


def test_a_calibrated_interval_is_used_only_if_nothing_is_known():
    labels = square(4, (3, 20, 20))
    samples = [square(side, labels.shape) for side in (3, 4, 5)]
    known = np.zeros(labels.shape, bool)
    counts = np.array([[27], [48], [75]])
    expected = volume_interval(counts, np.array([1.5]))[0] * 0.25
    for none in (None, known):
        (one,) = measure_classes(
            labels, NAMES[:2], (1, 0.5, 0.5), samples, none, volume_factors=[1.5]
        )
        assert one.interval.meaning == CALIBRATED
        assert (one.interval.low, one.interval.high) == pytest.approx(tuple(expected))
    known[0, 0, 0] = True
    (one,) = measure_classes(labels, NAMES[:2], (1, 0.5, 0.5), samples, known, volume_factors=[1.5])
    assert one.interval.meaning == OF_SAMPLES


def test_an_absent_class_has_size_zero_and_no_diameter_and_one_sample_no_interval():
    sd = np.where(square(4) > 0, 0.25, 0).astype(np.float32)
    anterior, posterior = measure_classes(square(4), NAMES, (1, 1), [square(4)], sample_sd=sd)
    assert posterior.size == 0 and posterior.diameters is None and posterior.mean_sd is None
    assert anterior.interval is None and anterior.mean_sd == 0.25


def test_a_loop_has_its_mean_area_among_the_sizes():
    labels = np.stack([square(4), square(2)])
    assert measure_classes(labels, NAMES[:2], (1, 1))[0].size == 10


@pytest.mark.parametrize("spacing", [(1, 1), (1.5, 0.5)])
@pytest.mark.parametrize("angle", [0, 30, 77, 90])
def test_the_diameters_of_an_ellipse_are_its_axes(spacing, angle):
    found = find_diameters(ellipse((35, 20), angle, spacing), spacing)
    assert found.longest == pytest.approx(70, abs=max(spacing))
    assert found.perpendicular == pytest.approx(40, abs=max(spacing))
    for ends, length in (
        (found.ends, found.longest),
        (found.perpendicular_ends, found.perpendicular),
    ):
        assert np.linalg.norm(np.diff(ends, axis=0) * spacing) == pytest.approx(length)
    along, across = (
        np.diff(ends, axis=0)[0] * spacing for ends in (found.ends, found.perpendicular_ends)
    )
    assert along @ across == pytest.approx(0, abs=1e-6)


def test_a_row_of_pixels_is_as_long_as_its_pixels():
    mask = np.zeros((5, 9, 9), bool)
    mask[3, 4, 2:7] = mask[1, 1, 1] = True
    found = find_diameters(mask, (3, 0.5, 0.5))
    assert found.at == (3,)
    assert found.longest == pytest.approx(2.5) and found.perpendicular == pytest.approx(0.5)
    assert sorted(found.ends) == [(4, 1.5), (4, 6.5)]
    assert find_diameters(mask & False, (3, 0.5, 0.5)) is None


def test_a_diameter_does_not_join_two_pieces():
    mask = np.zeros((30, 30), bool)
    mask[2:5, 2:5] = mask[20:30, 20:24] = True
    assert find_diameters(mask, (1, 1)).longest < 11.1


def test_the_perpendicular_of_a_skewed_shape_is_a_chord_inside_it():
    mask = np.zeros((60, 60), bool)
    for row in range(40):
        mask[row + 5, 5 : 5 + row] = True  # a triangle with a right angle
    found = find_diameters(mask, (1, 1))
    assert found.longest == pytest.approx(39 * np.sqrt(2), rel=0.03)
    assert found.perpendicular == pytest.approx(39 / np.sqrt(2), rel=0.03)


def test_a_loop_has_areas_with_bands_and_a_change_between_its_own_two_frames():
    labels = np.stack([square(side) for side in (8, 6, 4, 7)])
    samples = [np.stack([square(s + d) for s in (8, 6, 4, 7)]) for d in (-1, 0, 1)]
    (loop,) = measure_loop(labels, NAMES[:2], (0.5, 0.5), samples)
    assert loop.areas == (16, 9, 4, 12.25)
    assert (loop.largest, loop.smallest) == (0, 2)
    assert loop.change == pytest.approx(0.75)
    expected = np.quantile([49 / 4, 64 / 4, 81 / 4], (0.025, 0.975))
    assert loop.bands[0] == pytest.approx(tuple(expected))
    low, high = np.quantile([1 - 9 / 49, 0.75, 1 - 25 / 81], (0.025, 0.975))
    assert (loop.change_interval.low, loop.change_interval.high) == pytest.approx((low, high))
    known = np.ones(labels.shape, bool)
    (exact,) = measure_loop(labels, NAMES[:2], (0.5, 0.5), samples, known)
    assert exact.bands == tuple((area, area) for area in exact.areas)
    assert exact.change_interval.low == exact.change_interval.high == exact.change


def test_a_loop_without_the_class_has_no_change():
    (loop,) = measure_loop(np.zeros((3, 9, 9), np.uint8), NAMES[:2], (1, 1))
    assert loop.areas == (0, 0, 0) and loop.bands is None
    assert loop.change is None and loop.change_interval is None


def test_rows_are_ready_for_a_spreadsheet():
    labels = square(4, (3, 20, 20))
    names = ("background", "=HYPERLINK()")
    sizes = measure_classes(labels, names, (5, 2, 2), [labels, labels])
    rows = to_rows(sizes, space=3, calibrated=True)
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert {row["class"] for row in read} == {"'=HYPERLINK()"}
    assert (read[0]["value"], read[0]["unit"]) == ("960.0", "mm3")
    assert (read[1]["value"], read[1]["low"], read[1]["unit"]) == ("0.96", "0.96", "ml")
    assert read[2]["measurement"] == "longest diameter in a slice" and read[2]["unit"] == "mm"
    assert read[0]["interval"] == OF_SAMPLES and read[2]["low"] == read[2]["interval"] == ""


def test_units_without_a_voxel_size_are_pixels_and_voxels():
    labels = square(4)
    flat = to_rows(measure_classes(labels, NAMES[:2], (1, 1)), space=2, calibrated=False)
    assert {row["unit"] for row in flat} == {"pixels"}
    volume = measure_classes(labels[None], NAMES[:2], (1, 1, 1))
    assert {row["unit"] for row in to_rows(volume, space=3, calibrated=False)} == {
        "voxels",
        "pixels",
    }
    loop = measure_loop(labels[None], NAMES[:2], (1, 1))
    rows = to_rows([], loop, space=2, calibrated=False)
    assert [(row["measurement"], row["frame"], row["unit"]) for row in rows] == [
        ("area", 0, "pixels"),
        ("fractional area change", "", ""),
    ]
