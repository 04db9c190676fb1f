"""Synthetic scans with ground truth: an apical-view echocardiogram (2D) and a brain MR crop (3D).

Both are generated from one integer seed, resemble the real modality and cannot be segmented by
intensity only. Arrays are in napari order: 2D (y, x) with rows running down, 3D (z, y, x).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ECHO_CLASSES = ("background", "ventricle", "myocardium", "atrium")
MRI_CLASSES = ("background", "anterior nucleus", "posterior nucleus")
ECHO_SHAPE = (192, 160)
ECHO_SPACING_MM = (1.0, 0.9, 0.9)  # (z, y, x) of the (1, y, x) slice
MRI_SHAPE = (40, 56, 48)
MRI_SPACING_MM = (1.2, 1.0, 1.0)


@dataclass(frozen=True)
class Phantom:
    """One synthetic scan.

    image: 2D echo uint8 (192, 160), 0..255; 3D MRI uint16 (40, 56, 48), arbitrary units.
    label: uint8, shape of ``image``; the value indexes ECHO_CLASSES or MRI_CLASSES.
    affine: (4, 4) float64, array index to RAS+ world in mm; a 2D array counts as (1, y, x).
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class _Fan:
    """The probe's sector, each array of ECHO_SHAPE: range in pixels, angle in radians, mask."""

    r: np.ndarray
    theta: np.ndarray
    half_angle: float
    inside: np.ndarray


def echo_phantom(seed: int) -> Phantom:
    """Return an apical-view echocardiogram labelled with ECHO_CLASSES, a function of ``seed`` only.

    image uint8 (192, 160) with 0 outside the fan, label uint8 0..3, 0.9 mm pixels; rows run towards
    posterior, columns towards left.
    """
    rng = np.random.default_rng(seed)
    fan = _fan(rng)
    label, leaflets, right_heart = _heart(rng, fan)
    level = _echogenicity(rng, fan, label, leaflets, right_heart)
    amplitude = ndimage.gaussian_filter(10 ** (level / 20), 0.7)
    amplitude = (amplitude + _clutter(rng, fan, amplitude)) * _speckle(rng, fan)
    decibel = ndimage.gaussian_filter(20 * np.log10(amplitude + 1e-4), 0.55) + _gain(
        rng, fan, label
    )
    grey = 255 * np.clip(1 + decibel / rng.uniform(46, 56), 0, 1)
    image = np.where(fan.inside, grey, 0).astype(np.uint8)
    return Phantom(image, label, _affine((1, *ECHO_SHAPE), ECHO_SPACING_MM, np.eye(3)))


def mri_phantom(seed: int) -> Phantom:
    """Return a brain MR crop with two touching nuclei labelled with MRI_CLASSES, a function of ``seed`` only.

    image uint16 (40, 56, 48) in arbitrary units, label uint8 0..2, voxels 1.2 x 1.0 x 1.0 mm; axes run
    towards superior, posterior and left, a few degrees oblique.
    """
    rng = np.random.default_rng(seed)
    anterior, posterior = _nuclei(rng)
    label = np.select([anterior < np.minimum(posterior, 0), posterior < 0], [1, 2]).astype(np.uint8)
    image = _acquire(rng, _tissue(rng, anterior, posterior))
    oblique = _rotation(np.deg2rad(rng.uniform(2, 6, 3) * rng.choice([-1, 1], 3)))
    return Phantom(image, label, _affine(MRI_SHAPE, MRI_SPACING_MM, oblique))


def _affine(shape, spacing, turn):
    """Index-to-RAS matrix: axes Superior, Posterior, Left, then turned; array centre at the origin."""
    sz, sy, sx = spacing
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -sx], [0, -sy, 0], [sz, 0, 0]])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _smooth_field(rng, shape, cell):
    """Random field of ``shape``, zero mean and unit variance, varying over about ``cell`` voxels."""
    field = rng.standard_normal([int(n / cell) + 5 for n in shape])
    # One small B-spline matrix per axis: far cheaper than a wide Gaussian on the full grid.
    for n in shape:
        position = np.arange(n) / cell + 1 + rng.random()
        x = np.abs(position[:, None] - np.arange(int(n / cell) + 5))
        weights = np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6)
        field = np.tensordot(field, weights, axes=(0, 1))
    return (field - field.mean()) / field.std()


def _step(x, width):
    """Smooth 0 to 1 step at x = 0 of about ``width``."""
    return 0.5 + 0.5 * np.tanh(2 * x / width)


def _smooth_mask(mask, sigma=2.0):
    """Round the corners of a bool mask."""
    return ndimage.gaussian_filter(mask.astype(np.float32), sigma) > 0.5


def _fan(rng):
    row0, col0 = rng.uniform(-4, 3), 79.5 + rng.uniform(-3, 3)
    half_angle = np.deg2rad(rng.uniform(34, 38))
    rows, cols = np.indices(ECHO_SHAPE)
    r, theta = np.hypot(rows - row0, cols - col0), np.arctan2(cols - col0, rows - row0)
    inside = (np.abs(theta) < half_angle) & (r > 7) & (r < rng.uniform(180, 188) - row0)
    return _Fan(r, theta, half_angle, inside)


def _heart_axes(rng, length):
    """Pixels from the apex along the long axis and to the right of it (bent), each ECHO_SHAPE."""
    rows, cols = np.indices(ECHO_SHAPE)
    tilt = np.deg2rad(rng.uniform(-15, 15))
    # The pivot is below the apex, so that the apex of a tilted heart stays inside the narrow near field.
    dy = rows - rng.uniform(30, 48) - 22
    dx = cols - 79.5 - rng.uniform(-6, 6) + 18 * np.sin(tilt)
    along = dy * np.cos(tilt) + dx * np.sin(tilt) + 22
    lateral = dx * np.cos(tilt) - dy * np.sin(tilt)
    bow = 4 * along / length * (1 - along / length)
    return along, lateral - rng.uniform(-7, 7) * bow.clip(-1, 1)


def _chamber_width(s, power, base):
    """Half width profile of a ventricle, apex s = 0 to valve s = 1: peak 1, ``base`` at the valve."""
    peak = 0.62
    tip = (1 - (1 - np.clip(s / peak, 0, 1)) ** 2) ** power
    return np.where(s < peak, tip, 1 - (1 - base) * np.clip((s - peak) / (1 - peak), 0, 2) ** 2)


def _heart(rng, fan):
    """Label uint8 and two masks that share its grey levels: mitral leaflets, right heart; ECHO_SHAPE."""
    length = rng.uniform(72, 98)
    half_width = length * rng.uniform(0.24, 0.31)
    along, lateral = _heart_axes(rng, length)
    wobble = 1.6 * _smooth_field(rng, ECHO_SHAPE, 22)
    valve = (
        along
        - length
        + rng.uniform(-0.18, 0.18) * lateral
        + rng.uniform(-0.004, 0.004) * lateral**2
    )
    power, base = rng.uniform(0.45, 0.66), rng.uniform(0.68, 0.88)
    side = half_width * (1 + rng.uniform(-0.12, 0.12) * np.sign(lateral))
    inner = side * _chamber_width(along / length, power, base) + wobble
    ventricle = (valve < 0) & (along > 0) & (np.abs(lateral) < inner)
    left, right, apex = rng.uniform(9, 15) * rng.uniform(0.85, 1.2, 3)
    profile = _chamber_width((along + apex) / (length + apex), power, base)
    outer = (
        side * profile + np.where(lateral < 0, left, right) * np.clip(profile * 1.4, 0, 1) + wobble
    )
    muscle = (valve < 0) & (along > -apex) & (np.abs(lateral) < outer)
    t = valve / rng.uniform(34, 50)
    width = (
        half_width * rng.uniform(0.85, 1.12) * np.sqrt(np.clip(1 - (1.72 * t - 0.72) ** 2, 0, None))
    )
    atrium = (t >= 0) & (t < 1) & (np.abs(lateral - rng.uniform(-5, 5) * t) < width + 0.7 * wobble)
    label = np.zeros(ECHO_SHAPE, np.uint8)
    label[_smooth_mask(muscle | ventricle)] = 2
    label[_smooth_mask(atrium, 1.5)] = 3
    label[_smooth_mask(ventricle, 1.5)] = 1
    label[~fan.inside] = 0
    right_heart = _right_heart(rng, along, lateral, -outer, length) & (label == 0)
    return label, _leaflets(rng, along, lateral, length, half_width * base), right_heart


def _leaflets(rng, along, lateral, length, annulus):
    """Mask of two thin mitral leaflets, hinged at the annulus, anywhere between closed and open."""
    opening, thickness = rng.uniform(0.0, 1.0), rng.uniform(0.9, 1.5)
    mask = np.zeros(ECHO_SHAPE, bool)
    for sign in (-1, 1):
        hinge = np.array([length, sign * annulus * 0.97])
        tip = np.array(
            [length - annulus * (0.12 + 0.55 * opening), sign * annulus * (0.05 + 0.55 * opening)]
        )
        v = tip - hinge
        t = np.clip(((along - hinge[0]) * v[0] + (lateral - hinge[1]) * v[1]) / (v @ v), 0, 1)
        mask |= np.hypot(along - hinge[0] - t * v[0], lateral - hinge[1] - t * v[1]) < thickness
    return mask


def _right_heart(rng, along, lateral, septum, length):
    """Mask of the right ventricle and atrium (absent in a quarter, as in two-chamber views)."""
    if rng.random() < 0.25:
        return np.zeros(ECHO_SHAPE, bool)
    width, top = rng.uniform(20, 36), length * rng.uniform(0.08, 0.3)
    t = np.clip((along - top) / (length - top), 0, 1)
    ventricle = (t > 0) & (t < 1) & (lateral < septum) & (lateral > septum - width * t**0.5)
    below = (along - length * 1.24) / (length * 0.2)
    beside = (lateral + rng.uniform(0.5, 0.6) * length) / (width * 0.65)
    return _smooth_mask(ventricle | (below**2 + beside**2 < 1))


def _echogenicity(rng, fan, label, leaflets, right_heart):
    """Backscatter in dB (0 = brightest reflector), ECHO_SHAPE, before attenuation."""
    blood, muscle = rng.uniform(-44, -38), rng.uniform(-23, -18)
    patch = _smooth_field(rng, ECHO_SHAPE, 13)
    level = muscle + rng.uniform(-12, -8) + 3.5 * _smooth_field(rng, ECHO_SHAPE, 18)
    level = np.where(right_heart, blood + rng.uniform(0, 3), level)
    level = np.where((label == 1) | (label == 3), blood, level)
    level = np.where(label == 2, muscle + 2 * patch + _smooth_field(rng, ECHO_SHAPE, 5), level)
    # Pericardium and far atrial wall face the beam: thin, bright and patchy; atrial flanks are fainter.
    distance, nearest = ndimage.distance_transform_edt(label == 0, return_indices=True)
    dy, dx = np.indices(ECHO_SHAPE) - nearest
    facing = np.cos(np.arctan2(dx, dy) - fan.theta) ** 2
    rim = (
        muscle
        + rng.uniform(3, 8)
        + 3 * patch
        + np.where(label[tuple(nearest)] == 3, 8 * facing - 9, 0)
    )
    rim -= ((distance - 2.6) / rng.uniform(0.9, 1.5)) ** 2
    level = np.where((label == 0) & ~right_heart, np.maximum(level, rim), level)
    level = np.where(leaflets & (label > 0), rng.uniform(-16, -11) + 2 * patch, level)
    edge = ndimage.morphological_gradient((label == 2).astype(np.uint8), size=3)
    glints = _step(_smooth_field(rng, ECHO_SHAPE, 11) - 1.0, 0.8)
    return level + rng.uniform(6, 11) * edge * glints


def _clutter(rng, fan, amplitude):
    """Additive haze amplitude: side lobes of bright walls, near-field reverberation, patchy fog."""
    lobes = rng.uniform(0.06, 0.14) * ndimage.gaussian_filter(amplitude, (3, 9))
    near = rng.uniform(0.08, 0.18) * np.exp(-fan.r / rng.uniform(14, 24))
    return (
        lobes + near + rng.uniform(0.003, 0.01) * 10 ** (0.2 * _smooth_field(rng, ECHO_SHAPE, 26))
    )


def _speckle(rng, fan):
    """Rayleigh speckle amplitude, ECHO_SHAPE, mean square 1: its grains widen with depth."""
    rays, samples = 180, int(fan.r.max()) + 2
    noise = rng.standard_normal((2, samples, rays)).astype(np.float32)
    noise = ndimage.gaussian_filter(
        noise, (0, rng.uniform(0.8, 1.1), rng.uniform(2.2, 3.2)), truncate=3.0
    )
    at = np.stack([fan.r, (fan.theta / fan.half_angle + 1) * (rays - 1) / 2])
    parts = [ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in noise]
    return np.hypot(*parts) / (np.sqrt(2) * noise.std())


def _gain(rng, fan, label):
    """Gain in dB (mostly negative), ECHO_SHAPE: depth, shadows and drop-out."""
    gain = rng.uniform(-4, 4) - rng.uniform(0.0, 0.05) * fan.r
    angle, limit = np.rad2deg(fan.theta), np.rad2deg(fan.half_angle)
    for _ in range(rng.integers(1, 3)):
        wedge = np.exp(-(((angle - rng.uniform(-limit, limit)) / rng.uniform(2.0, 4.5)) ** 4))
        gain -= rng.uniform(9, 18) * wedge * _step(fan.r - rng.uniform(0, 90), 25)
    gain -= 7 * _step(np.abs(angle) - limit + 2.0, 5)
    # Walls parallel to the beam return little: patches of them fade.
    faded = (label == 2) * _step(_smooth_field(rng, ECHO_SHAPE, 20) - 1.0, 0.6)
    return gain - rng.uniform(6, 12) * ndimage.gaussian_filter(faded, 2.0)


def _rotation(angles):
    """Rotation matrix from three angles in radians about the three axes in turn."""
    matrix = np.eye(3)
    for plane, angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        turn = np.eye(3)
        turn[np.ix_(plane, plane)] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
        matrix = turn @ matrix
    return matrix


def _ellipsoid(points, centre, radii, exponent):
    """Approximate signed distance in mm (negative inside) to a superellipsoid; ``points`` in mm."""
    scaled = sum(
        np.abs((p - c) / r) ** exponent for p, c, r in zip(points, centre, radii, strict=True)
    )
    return (scaled ** (1 / exponent) - 1) * np.mean(radii)


def _nuclei(rng):
    """Signed distances in mm (negative inside) to the two nuclei, each MRI_SHAPE; a voxel is of the lower."""
    grid = [
        (np.arange(n) - (n - 1) / 2) * s for n, s in zip(MRI_SHAPE, MRI_SPACING_MM, strict=True)
    ]
    points = np.stack(np.meshgrid(*grid, indexing="ij")) - rng.uniform(-2.5, 2.5, (3, 1, 1, 1))
    z, y, x = np.tensordot(_rotation(np.deg2rad(rng.uniform(-14, 14, 3))), points, axes=1)
    x = x * rng.choice([-1.0, 1.0])  # left or right side of the head
    x = x + rng.uniform(0.006, 0.016) * (y - 2) ** 2 - 2.0
    z = z + rng.uniform(-0.012, 0.004) * y**2 + 1.0
    size = rng.uniform(1.06, 1.2)
    head = size * rng.uniform((6.2, 7.5, 6.8), (7.8, 8.6, 8.6))
    body = size * rng.uniform((5.8, 9.5, 6.0), (7.0, 11.0, 7.4))
    joint, overlap = rng.uniform(-4.5, -1.5), rng.uniform(4.5, 6.5)
    head_centre = (rng.uniform(-1, 1), joint - head[1] + overlap / 2, rng.uniform(-1, 1))
    body_centre = (0.0, joint + body[1] - overlap / 2, 0.0)
    anterior = _ellipsoid((z, y, x), head_centre, head, rng.uniform(2.0, 2.5))
    posterior = _ellipsoid((z, y, x), body_centre, body, rng.uniform(2.0, 2.6))
    union = np.minimum(anterior, posterior) + 0.7 * _smooth_field(rng, MRI_SHAPE, 8)
    # A bulge, zero at the neck, curves the interface without changing the union.
    bulge = rng.uniform(2.0, 4.0) * rng.choice([-1.0, 1.0]) * np.clip(1 - (x**2 + z**2) / 30, 0, 1)
    lead = anterior - posterior + bulge
    return union + np.clip(lead, 0, None), union + np.clip(-lead, 0, None)


def _tissue(rng, anterior, posterior):
    """Noise-free T1-like intensity, MRI_SHAPE, where white matter is about 1."""
    white, grey, fluid = rng.uniform(0.9, 1.0), rng.uniform(0.58, 0.66), rng.uniform(0.15, 0.28)
    # Level sets of one smooth field put a grey ribbon between white matter and fluid, as in cortex.
    folds = _smooth_field(rng, MRI_SHAPE, 7) + 0.5 * _smooth_field(rng, MRI_SHAPE, 14)
    tissue = np.select([folds > rng.uniform(0.0, 0.35), folds > -0.95], [white, grey], fluid)
    tissue[_smooth_field(rng, MRI_SHAPE, 10) > 1.35] = 0.5 * (white + grey)
    distance = np.minimum(anterior, posterior)
    # A white rim with gaps and a fluid cleft keep most of the border visible.
    tissue[(distance < rng.uniform(1.8, 2.6)) & (_smooth_field(rng, MRI_SHAPE, 9) > -1.3)] = white
    tissue[(distance < rng.uniform(2.5, 4.0)) & (_smooth_field(rng, MRI_SHAPE, 12) > 0.9)] = fluid
    nucleus, contrast = grey + rng.uniform(-0.03, 0.02), rng.uniform(0.10, 0.16)
    inside = nucleus + np.where(anterior < posterior, -contrast / 2, contrast / 2)
    return np.where(distance < 0, inside, tissue) + 0.018 * _smooth_field(rng, MRI_SHAPE, 4)


def _acquire(rng, tissue):
    """Scanner model, uint16 MRI_SHAPE: partial volume, bias field, Rician noise, gain."""
    signal = ndimage.gaussian_filter(tissue, np.divide(0.75, MRI_SPACING_MM))
    signal *= np.exp(rng.uniform(0.06, 0.13) * _smooth_field(rng, MRI_SHAPE, 26))
    real, imaginary = rng.uniform(0.03, 0.055) * rng.standard_normal((2, *MRI_SHAPE))
    return np.round(np.hypot(signal + real, imaginary) * rng.uniform(250, 1200)).astype(np.uint16)
