"""Checkpoint files: they are read back unchanged, and any invalid file is refused with one sentence."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, load_file, save

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.header import METADATA_KEY, read_metadata
from napari_ldseg.errors import LDSegError

SWIN = (12, 12, 24, 48, 96, 192)


@pytest.fixture(scope="module")
def saved(tiny_checkpoint, tmp_path_factory):
    """A valid file of a tiny 2D checkpoint, as bytes."""
    path = tmp_path_factory.mktemp("checkpoint") / "valid.safetensors"
    small = {"label_widths": (2, 2), "image_widths": (2, 2), "denoiser_widths": (2,)}
    checkpoint = tiny_checkpoint(architecture={**small, "denoiser_attention": ()})
    return save_checkpoint(checkpoint, path).read_bytes()


@pytest.fixture
def bad(tmp_path, assert_sentence):
    """Check that a file of the given bytes is refused with one sentence that names it."""

    def check(content, *words):
        path = tmp_path / "strange name.safetensors"
        path.write_bytes(content)
        for read in (load_checkpoint, read_metadata) if not words else (load_checkpoint,):
            with pytest.raises(LDSegError) as error:
                read(path)
            assert_sentence(error, path.name, *words)

    return check


def split(content):
    """Return (header as a dict, tensor bytes) of a safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def described(content, change):
    """Return ``content`` with its metadata changed by ``change(dict)``."""
    header, body = split(content)
    metadata = json.loads(header["__metadata__"][METADATA_KEY])
    change(metadata)
    header["__metadata__"][METADATA_KEY] = json.dumps(metadata)
    return join(header, body)


def reweighted(content, change):
    """Return ``content`` with its weights changed by ``change(dict)``."""
    header, _ = split(content)
    weights = load(content)
    change(weights)
    return save(weights, header["__metadata__"])


@pytest.mark.parametrize("dims, classes, channels", [(2, 2, 1), (2, 4, 3), (3, 3, 1)])
def test_round_trip_is_bitwise(tiny_checkpoint, tmp_path, dims, classes, channels):
    checkpoint = tiny_checkpoint(dims, classes, channels, label_steps=3, posterior_steps=17)
    path = save_checkpoint(checkpoint, tmp_path / "new folder" / "a.safetensors")
    loaded = load_checkpoint(path)
    assert loaded.metadata == checkpoint.metadata == read_metadata(path)
    before, after = checkpoint.model.state_dict(), loaded.model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[k], after[k]) and after[k].device.type == "cpu" for k in before)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.path == path and len(loaded.sha256) == 64 and checkpoint.sha256 is None
    again = save_checkpoint(loaded, tmp_path / "b.safetensors")
    assert load_checkpoint(again).sha256 == loaded.sha256
    size = (16,) * dims
    z = torch.randn(1, *checkpoint.metadata.architecture.latent_shape(size))
    assert torch.equal(checkpoint.model.decode(z, size), loaded.model.decode(z, size))


def test_file_is_plain_safetensors(tiny_checkpoint, tmp_path):
    path = save_checkpoint(tiny_checkpoint(), tmp_path / "a.safetensors")
    assert set(load_file(path)) == set(tiny_checkpoint().model.state_dict())
    assert path.stat().st_mode & 0o777 == 0o644


def test_failed_write_keeps_the_old_file_only(
    tiny_checkpoint, tmp_path, monkeypatch, assert_sentence
):
    path = save_checkpoint(tiny_checkpoint(), tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LDSegError) as error:
        save_checkpoint(tiny_checkpoint(classes=3), path)
    assert_sentence(error, "a.safetensors", "No space left")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_interrupted_write_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tiny_checkpoint(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_write_into_a_file_instead_of_a_folder(tiny_checkpoint, tmp_path, assert_sentence):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(LDSegError) as error:
        save_checkpoint(tiny_checkpoint(), tmp_path / "taken" / "a.safetensors")
    assert_sentence(error, "a.safetensors")


def test_missing_file_directory_and_file_as_folder(tmp_path, assert_sentence):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("gone.safetensors", "folder.safetensors", "file/inside.safetensors"):
        with pytest.raises(LDSegError) as error:
            load_checkpoint(tmp_path / name)
        assert_sentence(error, name)


def test_empty_and_truncated(saved, bad):
    cuts = {0, 1, 7, 8, 9, 100, len(saved) - 1, len(saved) - 4, len(saved) // 2}
    header = 8 + struct.unpack("<Q", saved[:8])[0]
    cuts |= {header - 1, header, header + 1} | set(range(20, len(saved), len(saved) // 25))
    for cut in sorted(cuts):
        bad(saved[:cut], "strange name")
    bad(saved + b"\0", "strange name")


def test_random_bytes(bad):
    rng = np.random.default_rng(0)
    for size in (5, 8, 64, 5000):
        bad(rng.bytes(size))
        bad(struct.pack("<Q", 16) + rng.bytes(size))


def test_other_formats_renamed(bad):
    bad(save({"weight": torch.zeros(3)}))
    bad(save({"weight": torch.zeros(3)}, {"format": "pt"}))
    bad(pickle.dumps({"weight": [1.0, 2.0]}))
    for make in (
        lambda f: torch.save({"w": torch.zeros(3)}, f),
        lambda f: zipfile.ZipFile(f, "w").close(),
    ):
        buffer = io.BytesIO()
        make(buffer)
        bad(buffer.getvalue())


def test_nothing_in_a_pickle_is_executed(bad, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    bad(pickle.dumps(Bomb()))
    bad(join({"__metadata__": {METADATA_KEY: pickle.dumps(Bomb()).hex()}}), "strange name")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 2**31, 5 * 2**20])
def test_hostile_header_length(bad, length):
    bad(struct.pack("<Q", length) + b"{}" * 50)


def test_hostile_json(bad):
    deep = b"[" * 200_000 + b"]" * 200_000
    bad(join(deep))
    bad(join(b'{"__metadata__": {"napari_ldseg": %s}}' % deep))
    bad(join({"__metadata__": {METADATA_KEY: deep.decode()}}))
    for value in (
        [],
        1,
        None,
        "x",
        {"__metadata__": 3},
        {"__metadata__": {METADATA_KEY: {"a": 1}}},
    ):
        bad(join(value))
    bad(join(b"9" * 10_000))
    bad(join(b'\xff\xfe{"'))


def set_(*path, value):
    def change(metadata):
        for key in path[:-1]:
            metadata = metadata[key]
        metadata[path[-1]] = value

    return change


HOSTILE = {
    "unknown key": set_("colour", value="red"),
    "unknown key in a part": set_("grid", "colour", value="red"),
    "unknown key with a line break": set_("a\nb" * 500, value="red"),
    "unknown key in the architecture": set_("architecture", "colour", value="red"),
    "a number of many digits": set_("architecture", "dims", value=10**4000),
    "unknown class key": set_("classes", 0, "size", value=1),
    "too wide": set_("architecture", "label_widths", value=[2**20, 2]),
    "too deep": set_("architecture", "label_widths", value=[2] * 5000),
    "four dimensions": set_("architecture", "dims", value=4),
    "dimensions without orientation": set_("architecture", "dims", value=3),
    "negative": set_("architecture", "latent_channels", value=-1),
    "not a number": set_("architecture", "dropout", value="NaN"),
    "class count": set_("architecture", "classes", value=3),
    "channel count": set_("channels", value=["a", "b"]),
    "grid axes": set_("grid", "size", value=[16, 16, 16]),
    "grid too large": set_("grid", "size", value=[4096, 4096 * 4096]),
    "grid overflow": set_("grid", value={"spacing": [1, 1], "minimum_size": [4096] * 40}),
    "no steps": set_("posterior_steps", value=0),
    "format of the future": set_("format_version", value=2),
    "parametrisation": set_("parametrisation", value="epsilon"),
    "spacing infinite": set_("grid", value={"spacing": [1e999, 1]}),
    "colour": set_("classes", 1, "colour", value="red"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata(saved, bad, name):
    bad(described(saved, HOSTILE[name]))


def test_missing_part_of_the_metadata(saved, bad):
    for key in ("architecture", "grid", "training", "name"):
        bad(described(saved, lambda metadata, key=key: metadata.pop(key)), "strange name", key)


@pytest.mark.parametrize(
    "networks, widths, size, words",
    [
        ("res-unet", (8,), 16, "at least two image_widths"),
        ("res-unet", (1, 8), 16, "at least two image_widths"),
        ("swin-unetr", (12, 24, 48), 64, "image_widths such as"),
        ("swin-unetr", (8, 8, 16, 32, 64, 128), 64, "image_widths such as"),
        ("swin-unetr", SWIN, 32, "more than 32 voxels"),
    ],
)
def test_a_baseline_needs_levels_and_channels(tiny_metadata, networks, widths, size, words):
    sizes = {"image_widths": widths, "label_widths": widths}
    with pytest.raises(ValidationError, match=words):
        tiny_metadata(networks=networks, architecture=sizes, grid={"size": (size, size)})


def test_a_swin_unetr_has_its_widths(tiny_metadata):
    sizes = {"image_widths": SWIN, "label_widths": SWIN}
    metadata = tiny_metadata(networks="swin-unetr", architecture=sizes, grid={"size": (64, 32)})
    model = build_model(metadata)
    assert model.unet.swinViT.layers1[0].blocks[0].attn.num_heads == 3
    assert model.encode_image(torch.zeros(1, 1, 70, 40)).shape == (1, 2, 70, 40)


def test_metadata_bounds(tiny_metadata):
    assert tiny_metadata(3).orientation == "SPL"
    for dims, change in [
        (3, {"orientation": "SPP"}),
        (3, {"orientation": None}),
        (2, {"orientation": "SPL"}),
        (2, {"grid": {"size": (16, 16), "spacing": (1, 1)}}),
        (2, {"grid": {}}),
        (2, {"grid": {"size": (16, 16), "minimum_size": (16, 16)}}),
        (2, {"field_of_view": {"smallest": (1,), "largest": (2,)}}),
    ]:
        with pytest.raises(ValidationError):
            tiny_metadata(dims, **change)


def test_weights_that_do_not_fit_the_metadata(saved, bad):
    key = "denoiser.stem.weight"

    def replace(value):
        return lambda weights: weights.update({key: value(weights[key])})

    bad(reweighted(saved, replace(lambda w: w[:1].contiguous())), "stem")
    bad(reweighted(saved, replace(lambda w: w[None].contiguous())), "stem")
    bad(reweighted(saved, replace(lambda w: w.half())), "stem")
    bad(reweighted(saved, replace(lambda w: w.double())), "stem")
    bad(reweighted(saved, replace(lambda w: w.int())), "stem")
    bad(reweighted(saved, lambda weights: weights.pop(key)), "stem")
    bad(reweighted(saved, lambda weights: weights.update(extra=torch.zeros(1))), "extra")
    bad(reweighted(saved, lambda weights: weights.clear()), "damaged")
    for value in (torch.nan, torch.inf):
        bad(reweighted(saved, replace(lambda w, v=value: w.fill_(v))), "NaN")
    # Without a change it loads, so the helpers above do not break it.
    loadable = reweighted(saved, lambda weights: None)
    assert set(split(loadable)[0]) == set(split(saved)[0])


def test_other_architecture_in_the_metadata(saved, bad):
    bad(described(saved, set_("architecture", "label_widths", value=[2, 4])), "damaged")
    bad(described(saved, set_("architecture", "image_attention", value=False)), "damaged")


@pytest.mark.slow
def test_bit_flips(saved, tmp_path, assert_sentence):
    """A valid file with one to three flipped bits loads, or is refused with one sentence."""
    rng = np.random.default_rng(0)
    header = 8 + struct.unpack("<Q", saved[:8])[0]
    path = tmp_path / "flipped.safetensors"
    refused = loaded = 0
    for i in range(400):
        content = bytearray(saved)
        end = header if i % 4 else len(content)
        for place in rng.integers(0, end, rng.integers(1, 4)):
            content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            assert isinstance(load_checkpoint(path), Checkpoint)
            loaded += 1
        except LDSegError as error:
            assert_sentence(error, path.name)
            refused += 1
    assert refused > 100 and loaded > 20


def test_nothing_is_allocated_for_hostile_metadata(saved, tmp_path, assert_sentence):
    """A few kilobytes that describe gigabytes of weights fail before memory is allocated."""
    resource = pytest.importorskip("resource")  # not on Windows
    unit = 1 if sys.platform == "darwin" else 2**10

    def enlarge(metadata):
        widths = [1024] * 7
        metadata["architecture"] |= {
            "label_widths": widths,
            "image_widths": widths,
            "denoiser_widths": widths,
            "denoiser_blocks": 8,
            "classes": 256,
        }
        metadata["classes"] = [metadata["classes"][0]] * 256

    path = tmp_path / "huge.safetensors"
    path.write_bytes(described(saved, enlarge))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    with pytest.raises(LDSegError) as error:
        load_checkpoint(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_sentence(error, path.name)
    assert peak < 50 * 2**20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 200 * 2**20


def test_oversized_file(tmp_path, assert_sentence):
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(LDSegError) as error:
        load_checkpoint(path)
    assert_sentence(error, path.name, "too large")


def imported_by(code):
    """The modules that a new interpreter has loaded after ``code``."""
    show = "import sys; print(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", f"{code}\n{show}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", ["", ".checkpoint.header", ".checkpoint.bundled", ".scans.files"])
def test_light_modules_import_neither_torch_nor_qt(name):
    modules = imported_by(f"import napari_ldseg{name}")
    assert f"napari_ldseg{name}" in modules
    assert not {"torch", "monai", "qtpy", "napari", "PyQt6", "PySide6"} & set(modules)


@pytest.mark.slow
def test_rooms_import_no_later_one_and_those_below_the_widgets_no_qt():
    """One interpreter imports the model, then the checkpoint, then all rooms below the widgets."""
    code = """
import importlib, pkgutil, sys
import napari_ldseg.model.ldseg
print(*sys.modules, "|")
import napari_ldseg.checkpoint.file
print(*sys.modules, "|")
for room in ("model", "checkpoint", "inference", "training"):
    package = importlib.import_module(f"napari_ldseg.{room}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
    words = " ".join(imported_by(code)).split("|")
    model, checkpoint, everything = (set(part.split()) for part in words)
    later = {f"napari_ldseg.{room}" for room in ("inference", "training", "layers", "widgets")}
    assert "napari_ldseg.model.samplers" in model
    assert not (later | {"napari_ldseg.checkpoint", "pydantic"}) & model
    assert "napari_ldseg.checkpoint.file" in checkpoint and not later & checkpoint
    assert {"torch", "napari_ldseg.training.loop"} <= everything
    assert not {"qtpy", "napari", "PyQt5", "PyQt6", "PySide6", "napari_ldseg.widgets"} & everything
