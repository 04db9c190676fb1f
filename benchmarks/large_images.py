"""Large images: seconds, peak memory, seams between tiles, and growth with the size.

python benchmarks/large_images.py [--only head ct slide seams growth] [--samples 2] [--output FILE.json]

Each case runs in a process of its own, on the CPU:

- head: a whole head, the file MNI152_T1, in which hippocampus finds its structures; without the file it is left out
  (mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz of nilearn, the template of 1 mm);
- ct: a synthetic CT of 512 x 512 x 400 voxels, int16, 0.8 x 0.8 x 1 mm, in tiles of the networks of mri-phantom
  (3 classes) on a grid four times as coarse as theirs, so that there are few tiles;
- slide: a synthetic slide of 4000 x 4000 RGB pixels in a zarr store, read lazily, in tiles of glas; labels and SD
  are written to zarr;
- seams: glas on a slide made of mirrored copies of one of its images (LDSEG_DATA/glas), 8 samples, once from its corner
  and once from SHIFT: the mean SD within 16 pixels of the middle of the overlaps of one, over that of the same pixels in
  the other;
- growth: networks as the paper's for GlaS, on a grid of 1 mm and trained on 512 x 512: one sample of 1024 x 1024
  over one of 512 x 512, in tiles and, to compare, with attention over the complete image.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from scipy import ndimage

from napari_ldseg import Scan, load_checkpoint, read_scan
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint, build_model
from napari_ldseg.checkpoint.metadata import (
    ClassInfo,
    FieldOfView,
    Grid,
    Metadata,
    TrainingRecord,
    TrainingSize,
)
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import make_sampler
from napari_ldseg.inference.tiled import TiledSampler
from napari_ldseg.inference.tiles import image_part
from napari_ldseg.model.presets import preset
from napari_ldseg.scans.scan import default_affine

BAND, EDGE = 16, 100  # pixels
SHIFT = (180, 250)  # about half the distance of two tiles of glas


def head(samples: int) -> dict[str, Any]:
    """Find both hippocampi in a whole head."""
    path = os.environ.get("MNI152_T1")
    if not path:
        return {"left out": "MNI152_T1 does not name a file"}
    scan = read_scan(path)
    started, cpu = time.monotonic(), time.process_time()
    sampler = make_sampler(load_checkpoint(find_checkpoint("hippocampus")), scan, device="cpu")
    assert isinstance(sampler, TiledSampler)
    for _ in sampler.prepare():
        pass
    finding = time.process_time() - cpu
    list(sampler.run(samples))
    pieces, count = ndimage.label(sampler.posterior.labels)
    places = [
        (scan.affine @ [*ndimage.center_of_mass(pieces == k), 1])[:3].round(1).tolist()
        for k in range(1, count + 1)
    ]
    sizes = np.bincount(pieces.ravel())[1:]
    ml = sizes * sampler.posterior.voxel_size / 1000
    return {
        "samples": samples,
        "found": sampler.tile_count,
        "structures_ml": {
            str(place): round(float(v), 2) for place, v in zip(places, ml, strict=True) if v > 0.05
        },
        "finding_cpu_seconds": round(finding, 1),
        **_cost(started, cpu),
    }


def ct(samples: int) -> dict[str, Any]:
    """Segment a CT of 105 million voxels."""
    checkpoint = load_checkpoint(find_checkpoint("mri-phantom"))
    fov = checkpoint.metadata.field_of_view
    assert fov is not None
    coarse = checkpoint.metadata.model_copy(
        update={
            "grid": Grid(spacing=(4.8, 4.0, 4.0), minimum_size=(40, 56, 48)),
            "field_of_view": FieldOfView(
                smallest=tuple(4 * n for n in fov.smallest),
                largest=tuple(4 * n for n in fov.largest),
            ),
            "larger_images": "tile",
        }
    )
    rng = np.random.default_rng(0)
    array = np.empty((400, 512, 512), np.int16)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 + (1.4 * y) ** 2 < 0.6, 40, -1000)
    for z in range(len(array)):
        array[z] = body + rng.integers(-30, 30, body.shape, dtype=np.int16)
    scan = Scan(array, default_affine((1.0, 0.8, 0.8)), name="ct")
    return _run(Checkpoint(coarse, checkpoint.model), scan, samples)


def slide(samples: int) -> dict[str, Any]:
    """Segment a slide of 16 million pixels from zarr into zarr."""
    import zarr

    checkpoint = load_checkpoint(find_checkpoint("glas"))
    with tempfile.TemporaryDirectory() as folder:
        image = zarr.create_array(
            Path(folder) / "slide.zarr", shape=(4000, 4000, 3), chunks=(512, 512, 3), dtype="uint8"
        )
        rng = np.random.default_rng(0)
        for start in range(0, 4000, 512):
            rows = min(512, 4000 - start)
            image[start : start + rows] = rng.integers(120, 255, (rows, 4000, 3), dtype=np.uint8)
        results = _run(checkpoint, Scan(image, channels=True, name="slide"), samples, Path(folder))
    return results


def seams(samples: int) -> dict[str, Any]:
    """Measure the mean SD where tiles meet, over that of the same pixels where other tiles have their middle."""
    from PIL import Image

    folder = Path(os.environ.get("LDSEG_DATA", "../shared/data")) / "glas"
    names = sorted(p for p in folder.rglob("*.png") if "label" not in str(p.parent).lower())
    image = np.asarray(Image.open(names[0]).convert("RGB"))
    pads = ((0, 1700 - image.shape[0]), (0, 2300 - image.shape[1]), (0, 0))
    whole = np.pad(image, pads, mode="reflect")
    maps, near = [], []
    for start in ((0, 0), SHIFT):
        scan = Scan(whole[start[0] :, start[1] :], channels=True, name=names[0].name)
        sampler = make_sampler(load_checkpoint(find_checkpoint("glas")), scan, device="cpu")
        assert isinstance(sampler, TiledSampler)
        list(sampler.run(samples))
        assert sampler.posterior.sample_sd is not None
        maps.append(sampler.posterior.sample_sd)
        near.append(near_seams(sampler))
    common = slice(SHIFT[0] + EDGE, -EDGE), slice(SHIFT[1] + EDGE, -EDGE)
    shifted = slice(EDGE, -EDGE), slice(EDGE, -EDGE)
    first, second = maps[0][common], maps[1][shifted]
    only = near[0][common] & ~near[1][shifted]
    other = near[1][shifted] & ~near[0][common]
    at_seams = np.concatenate([first[only], second[other]]).mean()
    inside = np.concatenate([second[only], first[other]]).mean()
    return {
        "samples": samples,
        "pixels": int(only.sum() + other.sum()),
        "seam_ratio": round(float(at_seams / inside), 3),
        "mean_sd": round(float(maps[0].mean()), 4),
    }


def near_seams(sampler: TiledSampler) -> np.ndarray:
    """Return where the middle of an overlap is within BAND pixels, bool, shaped like the image."""
    near = np.zeros(sampler.scan.shape, bool)
    boxes = [image_part(sampler.grid.mapping, tile) for tile in sampler.grid.tiles()]
    for axis in range(near.ndim):
        spans = sorted({(box[axis].start, box[axis].stop) for box in boxes})
        for (_, stop), (start, _) in itertools.pairwise(spans):
            middle = (start + stop) // 2
            part: list[slice] = [slice(None)] * near.ndim
            part[axis] = slice(middle - BAND, middle + BAND)
            near[tuple(part)] = True
    return near


def growth(samples: int) -> dict[str, Any]:
    """Compare 1024 x 1024 with 512 x 512, on a grid that follows the image."""
    architecture = preset("glas").architecture
    metadata = Metadata(
        name="growth",
        description="Untrained networks as the paper's for GlaS.",
        architecture=architecture,
        channels=("red", "green", "blue"),
        classes=tuple(ClassInfo(name=n, colour="#3cb44b") for n in ("background", "gland")),
        grid=Grid(spacing=(1.0, 1.0)),
        training_size=TrainingSize(smallest=(512, 512), largest=(512, 512)),
        training=TrainingRecord(data="none", licence="none", split="none"),
    )
    torch.manual_seed(0)
    checkpoint = Checkpoint(metadata, build_model(metadata).eval().requires_grad_(False))
    rng = np.random.default_rng(0)
    times: dict[str, float] = {}
    for size in (512, 1024):
        scan = Scan(rng.integers(0, 255, (size, size, 3), dtype=np.uint8), channels=True)
        whole = {"whole": lambda scan=scan: PosteriorSampler(checkpoint, scan, device="cpu")}
        tiled = {"tiles": lambda scan=scan: make_sampler(checkpoint, scan, device="cpu")}
        for name, make in (whole | tiled).items():
            times[f"{name}_{size}"] = _seconds(make, samples)
    return {
        **{name: round(value, 2) for name, value in times.items()},
        "growth": round(times["tiles_1024"] / times["tiles_512"], 2),
        "growth_whole": round(times["whole_1024"] / times["whole_512"], 2),
    }


def _seconds(make: Any, samples: int) -> float:
    """Return the CPU time of ``samples`` samples, without the time of waiting for a core."""
    sampler = make()
    started = time.process_time()
    list(sampler.run(samples))
    return time.process_time() - started


def _run(
    checkpoint: Checkpoint, scan: Scan, samples: int, folder: Path | None = None
) -> dict[str, Any]:
    """Segment and return seconds and peak memory; write the maps to zarr if there is a ``folder``."""
    started, cpu = time.monotonic(), time.process_time()
    sampler = make_sampler(checkpoint, scan, device="cpu")
    assert isinstance(sampler, TiledSampler)
    list(sampler.run(samples))
    maps = {"labels": sampler.posterior.labels, "sample_sd": sampler.posterior.sample_sd}
    if folder is not None:
        import zarr

        for name, array in maps.items():
            assert array is not None
            store = zarr.create_array(
                folder / f"{name}.zarr", shape=array.shape, chunks=(512, 512), dtype=array.dtype
            )
            store[:] = array
    return {
        "samples": samples,
        "tiles": sampler.tile_count,
        **_cost(started, cpu),
        "browsable": sampler.samples() is not None,
    }


def _cost(started: float, cpu: float) -> dict[str, float]:
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gib": round(machine.peak_mib() / 1024, 2),
    }


CASES = {"head": head, "ct": ct, "slide": slide, "seams": seams, "growth": growth}


def main() -> None:
    """Run the cases in separate processes and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        count = {"seams": 8, "growth": 1}.get(arguments.case, arguments.samples)
        print(json.dumps(CASES[arguments.case](count)))
        return
    results: dict[str, Any] = {"machine": machine.describe()}
    for name in arguments.only:
        command = [sys.executable, __file__, "--case", name, "--samples", str(arguments.samples)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[name] = json.loads(output.splitlines()[-1])
        print(name, results[name], flush=True)
    print(results["machine"])
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
