"""The built wheel carries everything, and the bundled checkpoints are what their cards say."""

import json
import os
import re
import subprocess
import sys
from email.parser import Parser
from pathlib import Path

import pytest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.checkpoint.licence import is_non_commercial
from napari_ldseg.inference.segment import segment
from napari_ldseg.layers.samples import sample_folder
from napari_ldseg.scans.files import read_scan

ROOT = Path(__file__).parents[1]
NAMES = (
    "camus",
    "echo-phantom",
    "glas",
    "hippocampus",
    "lidc",
    "mri-phantom",
    "retina-disc-cup",
    "retina-vessels",
)

PROBE = """
import json, sys
import npe2, napari_ldseg
from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.layers.samples import sample_folder
manager = npe2.PluginManager.instance()
manager.discover()
manifest = manager.get_manifest("napari-ldseg")
print(json.dumps({
    "file": napari_ldseg.__file__,
    "display_name": manifest.display_name,
    "icon": manifest.icon,
    "classifiers": manifest.package_metadata.classifier,
    "widgets": [w.display_name for w in manifest.contributions.widgets],
    "samples": [s.key for s in manifest.contributions.sample_data],
    "sample_files": sorted(p.name for p in sample_folder().glob("*.nii.gz")),
    "sample_folder": str(sample_folder()),
    "models": {n: read_metadata(p).name for n, p in bundled_checkpoints().items()},
    "torch": "torch" in sys.modules,
}))
"""


@pytest.mark.slow
def test_the_wheel_has_plugin_samples_and_checkpoints(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(place)}
    answer = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    assert Path(found["file"]).is_relative_to(place)
    assert Path(found["sample_folder"]).is_relative_to(place)
    assert found["display_name"] == "LDSeg"
    assert found["widgets"] == [f"LDSeg: {n}" for n in TABS]
    assert "Framework :: napari" in found["classifiers"]
    assert (place / "napari_ldseg" / found["icon"].split(":")[1]).is_file()
    assert found["samples"] == ["echo_phantom", "mri_phantom"] and len(found["sample_files"]) == 4
    assert found["models"] == {name: name for name in NAMES}
    assert not found["torch"]
    (information,) = place.glob("napari_ldseg-*.dist-info")
    assert_the_licences_of_the_weights_are_in(information)


BLOCKED = """
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "monai", "lightning_fabric"):
            raise ModuleNotFoundError(f"No module named {name}", name=name)
sys.meta_path.insert(0, Missing())
for tab in sys.argv[1:]:
    importlib.import_module(f"napari_ldseg.widgets.{tab.lower()}.widget")
from napari_ldseg.cli import app
app(["segment", "scan.nii.gz", "-o", "results", "--model", "mri-phantom"])
"""


@pytest.mark.slow
def test_without_torch_all_tabs_import_and_a_command_says_what_is_missing(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(ROOT / "sample_data" / "mri_phantom.nii.gz")
    answer = subprocess.run(
        [sys.executable, "-c", BLOCKED, *TABS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2
    assert "pip install 'napari-ldseg[local]'" in answer.stderr
    assert "Traceback" not in answer.stderr


TABS = ("Segment", "Review", "Correct", "Project", "Worklist", "Train", "View")


def assert_the_licences_of_the_weights_are_in(information):
    """Check a .dist-info folder: an SPDX expression, and for every bundled model the terms it names."""
    metadata = Parser().parsestr((information / "METADATA").read_text(encoding="utf-8"))
    files = {Path(name).as_posix() for name in metadata.get_all("License-File")}
    folder = information / "licenses"
    assert all((folder / name).stat().st_size > 500 for name in files)
    table = (folder / "LICENSES" / "README.md").read_text(encoding="utf-8")
    named = {"BSD-3-Clause"}
    for path in bundled_checkpoints().values():
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{path.name}` |")]
        licence = read_metadata(path).training.licence
        _, _, stated, terms, commercial, _ = [cell.strip() for cell in row.split("|")]
        assert stated == licence
        assert commercial == ("no" if is_non_commercial(licence) else "yes")
        identifier, target = re.fullmatch(r"\[(.+)\]\((.+)\)", terms).groups()
        named.add(identifier)
        if identifier == "BSD-3-Clause":
            assert licence.startswith(identifier) and target == "../LICENSE" and "LICENSE" in files
        else:
            assert target == f"{identifier}.md" and f"LICENSES/{target}" in files
            text = (folder / "LICENSES" / target).read_text(encoding="utf-8")
            for part in (identifier, path.name, "https://", "## Attribution", "- Changes: "):
                assert part in text
    assert set(metadata["License-Expression"].split(" AND ")) == named


@pytest.mark.parametrize("name", NAMES)
def test_bundled_checkpoint_is_small_and_has_a_true_card(name):
    path = bundled_checkpoints()[name]
    assert path.stat().st_size < 10_000_000
    metadata = load_checkpoint(path).metadata
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for part in (metadata.training.data, metadata.training.licence, metadata.training.split):
        assert part in card
    assert metadata.metrics
    for metric in metadata.metrics:
        assert f"{metric.value:.3f}" in card
    assert metadata.deterministic or metadata.posterior_steps > metadata.label_steps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["echo-phantom", "mri-phantom"])
def test_bundled_phantom_models_segment_the_sample_scans(name):
    from napari_ldseg.evaluation.overlap import overlap

    checkpoint = load_checkpoint(bundled_checkpoints()[name])
    stem = sample_folder() / name.replace("-", "_")
    scan = read_scan(f"{stem}.nii.gz")
    truth = read_scan(f"{stem}_label.nii.gz").array
    posterior = segment(checkpoint, scan, n=3)
    dsc = overlap(posterior.labels, truth, len(checkpoint.metadata.classes))[0]
    assert dsc.min() > 0.85
    # The samples disagree where the labels are wrong more than where they are right.
    wrong = posterior.labels != truth
    assert posterior.sample_sd[wrong].mean() > 5 * posterior.sample_sd[~wrong].mean()


def test_root_manifest_is_the_packages():
    assert (ROOT / "napari.yaml").resolve() == ROOT / "napari_ldseg" / "napari.yaml"
