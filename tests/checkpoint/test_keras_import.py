"""Keras weight files: valid ones are imported; others are refused with one sentence, nothing written."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_ldseg.checkpoint import hdf5
from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.checkpoint.hdf5 import read_hdf5
from napari_ldseg.checkpoint.keras import import_keras, import_keras_file
from napari_ldseg.cli import app
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan

from ..keras_fixture import FILES, layers_of, named_tensors, write_keras

SMALL_LABEL = (2, 4, 4, 4, 2)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A valid folder of each dimension, which no test changes."""
    made = {}
    for dims, channels, classes in ((2, 3, 2), (3, 1, 3)):
        folder = tmp_path_factory.mktemp(f"keras{dims}")
        made[dims] = write_keras(folder, dims, channels, classes, offset=37, gap=3)
    return made


@pytest.fixture(autouse=True, scope="module")
def each_content_read_once():
    """A process reads each file; the files that a test does not damage are the same as before."""
    read, answers = hdf5._run_reader, {}

    def remembered(path):
        content = path.read_bytes()
        if content not in answers:
            answers[content] = read(path)
        return answers[content]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "_run_reader", remembered)
        yield


@pytest.fixture
def folder(pristine, tmp_path):
    """A copy of the 2D folder that a test may damage."""
    return shutil.copytree(pristine[2], tmp_path / "some model")


@pytest.fixture
def refused(folder, tmp_path, assert_sentence):
    """Check that importing the folder fails with one sentence with ``words``, and nothing is written."""

    def check(*words):
        target = tmp_path / "model.safetensors"
        with pytest.raises(LDSegError) as error:
            import_keras_file(folder, target)
        assert_sentence(error, *words)
        assert not list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob("*.part"))

    return check


@pytest.fixture
def edit(folder):
    """Open the file of one of the four networks for writing."""
    return lambda stem: h5py.File(folder / f"{stem}.hdf5", "a")


@pytest.mark.parametrize("dims, size", [(2, (64, 64)), (3, (64, 64, 64))])
def test_dimensions_classes_channels_and_size_come_from_the_shapes(pristine, dims, size):
    metadata = import_keras(pristine[dims]).metadata
    arch = metadata.architecture
    assert (arch.dims, arch.classes, arch.image_channels) == (dims, dims, {2: 3, 3: 1}[dims])
    assert arch.label_widths == SMALL_LABEL and arch.denoiser_widths == (4, 8, 8)
    assert arch.image_widths == (4, 8, 8, 8, 8) and metadata.grid.size == size
    assert metadata.networks == "authors" and metadata.parametrisation == "plain-difference"


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_names_do_not_matter_but_their_order_does(pristine, tmp_path, dims):
    """Offsets from 0 to 1e6 and gaps, so that names sort differently as text than as numbers."""
    expected = import_keras(pristine[dims]).model.state_dict()
    for offset, gap in ((0, 1), (95, 7), (10**6, 1)):
        folder = tmp_path / str(offset)
        folder.mkdir()
        write_keras(folder, dims, {2: 3, 3: 1}[dims], dims, offset=offset, gap=gap)
        state = import_keras(folder).model.state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_tensors_are_assigned_to_their_modules(pristine):
    model = import_keras(pristine[2]).model
    layers = [list(named_tensors(part, 1, 1, i).values()) for i, part in enumerate(
        layers_of(2, 3, 2, (4, 4)).values()
    )]  # fmt: skip

    def tensor(part, layer, weight):
        return next(v for k, v in layers[part][layer].items() if k.endswith(weight))

    block = model.label_encoder.pyramid[2]  # after the first block and its max-pool
    kernel = tensor(0, 6, "kernel:0")
    np.testing.assert_array_equal(block.conv1.weight, kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(block.norm1.running_var, tensor(0, 7, "moving_variance:0"))
    np.testing.assert_array_equal(block.shortcut_norm.weight, tensor(0, 11, "gamma:0"))
    np.testing.assert_array_equal(
        model.label_encoder.norm.bias, np.moveaxis(tensor(0, -1, "beta:0"), -1, 0)
    )
    first = tensor(1, 0, "kernel:0")  # (h, w, outputs, inputs) of the transposed convolution
    np.testing.assert_array_equal(
        model.label_decoder.layers[0].conv.weight, first.transpose(3, 2, 0, 1)
    )
    np.testing.assert_array_equal(model.denoiser.time[0].weight, tensor(3, 1, "kernel:0").T)
    np.testing.assert_array_equal(model.denoiser.out.bias, tensor(3, -1, "bias:0"))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_command_writes_a_checkpoint_that_segments(pristine, tmp_path, dims):
    target = tmp_path / "new" / "model.safetensors"
    names = [f"--class=part {i}" for i in range(1, dims)]
    result = CliRunner().invoke(
        app, ["import-keras", str(pristine[dims]), "-o", str(target), *names]
    )
    assert result.exit_code == 0 and "part 1" in result.stdout, result.output
    checkpoint = load_checkpoint(target)
    rng = np.random.default_rng(0)
    shape = {2: (70, 50, 3), 3: (20, 30, 40)}[dims]
    scan = Scan(rng.integers(0, 255, shape).astype(np.uint8), channels=dims == 2)
    posterior = segment(checkpoint, scan, n=1, steps=2, device="cpu")
    assert posterior.labels.shape == shape[:dims] and posterior.class_names[1] == "part 1"
    shown = CliRunner().invoke(app, ["info", str(target)])
    assert shown.exit_code == 0 and f"{dims}D" in shown.stdout and "part 1" in shown.stdout


@pytest.mark.slow
def test_the_command_fails_with_a_sentence_and_without_qt(folder, tmp_path):
    (folder / "denoiser.hdf5").unlink()
    code = (
        "import sys; from napari_ldseg.cli import app\n"
        "try: app()\n"
        "finally: assert not any(m.split('.')[0] in ('qtpy', 'PyQt6', 'napari') for m in sys.modules)"
    )
    target = tmp_path / "x.safetensors"
    command = [sys.executable, "-c", code, "import-keras", str(folder), "-o", str(target)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1 and not target.exists()
    assert answer.stderr.startswith("denoiser.hdf5 is missing in") and answer.stdout == ""
    assert answer.stderr.count("\n") == 1


def test_the_schedule_of_the_training_is_an_option(pristine, tmp_path):
    target = tmp_path / "x.safetensors"
    command = ["import-keras", str(pristine[2]), "-o", str(target), "--schedule", "linear"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert load_checkpoint(target).model.schedule.alpha_bar(0) == pytest.approx(1 - 1e-4)


def test_another_model_is_never_overwritten(pristine, tmp_path, assert_sentence):
    target = tmp_path / "mine.safetensors"
    target.write_bytes(b"months of work")
    result = CliRunner().invoke(app, ["import-keras", str(pristine[2]), "-o", str(target)])
    assert result.exit_code == 1 and target.read_bytes() == b"months of work"
    assert_sentence(result.stderr.strip(), "mine.safetensors", "exists")


def test_an_output_of_another_kind_is_refused(pristine, tmp_path):
    command = ["import-keras", str(pristine[2]), "-o", str(tmp_path / "model.hdf5")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and "must end in .safetensors" in result.stderr
    assert not any(tmp_path.iterdir())


def test_help_names_the_files_and_options():
    text = CliRunner().invoke(app, ["import-keras", "--help"]).stdout
    for word in ("labelEncoder.hdf5", "denoiser3D.hdf5", "--dims", "--class", "Example"):
        assert word in text


@pytest.mark.parametrize("stem", FILES)
def test_a_missing_file(folder, refused, stem):
    (folder / f"{stem}.hdf5").unlink()
    refused(f"{stem}.hdf5 is missing")


def test_both_kinds_in_one_folder(folder, pristine, refused):
    shutil.copytree(pristine[3], folder, dirs_exist_ok=True)
    refused("--dims 2")
    assert import_keras(folder, 3).metadata.architecture.dims == 3
    with pytest.raises(LDSegError, match="2 or 3, not 4"):
        import_keras(folder, 4)


def test_3d_weights_under_a_2d_name(folder, pristine, refused):
    shutil.copy(pristine[3] / "imageEncoder3D.hdf5", folder / "imageEncoder.hdf5")
    refused("imageEncoder.hdf5 is 3D")


@pytest.mark.parametrize("a", FILES)
@pytest.mark.parametrize("b", FILES)
def test_swapped_files(folder, refused, a, b):
    if a == b:
        return
    shutil.copy(folder / f"{a}.hdf5", folder / f"{b}.hdf5")
    refused(f"{b}.hdf5: '")


def test_a_truncated_file_and_no_hdf5_at_all(folder, refused):
    path = folder / "labelDecoder.hdf5"
    content = path.read_bytes()
    for part in (content[: len(content) // 2], content[:100], b"", b"PK\x03\x04"):
        path.write_bytes(part)
        refused("labelDecoder.hdf5")
    path.unlink()
    path.mkdir()
    refused("labelDecoder.hdf5")


def first_kernel(file):
    """Return the path of the first convolution's kernel in name order."""
    found = []
    file.visit(lambda name: found.append(name) if name.endswith("kernel:0") else None)
    return next(name for name in found if name.startswith("conv2d"))


def replaced(file, name, **how):
    del file[name]
    return file.create_dataset(name, **how)


def test_a_missing_tensor(edit, refused):
    with edit("imageEncoder") as file:
        name = first_kernel(file)
        del file[name]
    refused("imageEncoder.hdf5: '", "kernel:0' is missing")


def test_an_unexpected_tensor(edit, refused):
    with edit("denoiser") as file:
        file["dense_9999/dense_9999/kernel:0"] = np.zeros((2, 2), "f4")
    refused("denoiser.hdf5", "'dense_9999/dense_9999/kernel:0' is unexpected")


@pytest.mark.slow
@pytest.mark.parametrize("stem", FILES)
def test_one_layer_less_and_one_more(edit, folder, refused, stem):
    with edit(stem) as file:
        layer = first_kernel(file).split("/")[0]
        file.copy(layer, "conv2d_88888")
    refused(f"{stem}.hdf5: '")
    with edit(stem) as file:
        del file["conv2d_88888"], file[layer]
    refused(f"{stem}.hdf5: '")


@pytest.mark.parametrize(
    "value, word",
    [
        (np.zeros((3, 3, 5, 7), "f4"), "shape"),
        (np.zeros((), "f4"), "shape"),
        (np.zeros((3, 3, 0, 7), "f4"), "shape"),
        (np.zeros((3, 3, 3, 4), "f8"), "float64"),
        (np.zeros((3, 3, 3, 4), "i4"), "int32"),
        (np.array("text", h5py.string_dtype()), "object"),
        (h5py.Empty("f4"), "no data"),
    ],
)
def test_a_tensor_of_another_shape_or_type(edit, refused, value, word):
    with edit("imageEncoder") as file:
        name = first_kernel(file)
        replaced(file, name, data=value)
    refused("imageEncoder.hdf5", word)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_numbers(edit, refused, bad):
    with edit("labelEncoder") as file:
        name = first_kernel(file)
        file[name][0, 0, 0, 0] = bad
    refused("labelEncoder.hdf5", name, "NaN")


@pytest.mark.parametrize(
    "stem, name, shape",
    [
        ("labelEncoder", "encoder_output/encoder_output/gamma:0", (4, 5, 1)),
        ("labelEncoder", "encoder_output/encoder_output/beta:0", ()),
        ("denoiser", "attention_block_37/attention_block_37/{norm}/gamma:0", ()),
        ("denoiser", "attention_block_43/attention_block_43/{norm}/gamma:0", (5000,)),
        ("denoiser", "attention_block_40/attention_block_40/{norm}/beta:0", (7,)),
    ],
)
def test_shapes_that_sizes_are_derived_from(edit, refused, stem, name, shape):
    with edit(stem) as file:
        if "{norm}" in name:
            inner = file[name.split("/{")[0]]
            name = name.format(norm=next(n for n in inner if n.startswith("group")))
        replaced(file, name, data=np.ones(shape, "f4"))
    refused(f"{stem}.hdf5: '{name[:20]}", "has the shape")


def test_class_names(pristine, assert_sentence):
    for names, words in ((["a", "b"], "2 names were given"), (["x" * 200], "is not possible")):
        with pytest.raises(LDSegError) as error:
            import_keras(pristine[2], class_names=names)
        assert_sentence(error, words)


def test_negative_variance(edit, refused):
    with edit("imageEncoder") as file:
        file["embedding_output/embedding_output/moving_variance:0"][...] = -1
    refused("imageEncoder.hdf5", "moving_variance:0' has negative values")


@pytest.mark.slow
def test_links_compression_and_storage_elsewhere(edit, folder, refused):
    np.zeros(10**4, "f4").tofile(folder / "outside.raw")
    shape = {"shape": (3, 3, 3, 4), "dtype": "f4"}
    virtual = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    original = (folder / "imageEncoder.hdf5").read_bytes()
    storages = {
        "soft": lambda f, n: f.__setitem__(n, h5py.SoftLink("/embedding_output")),
        "external": lambda f, n: f.__setitem__(n, h5py.ExternalLink("denoiser.hdf5", "/")),
        "raw": lambda f, n: f.create_dataset(n, external=[("outside.raw", 0, 432)], **shape),
        "virtual": lambda f, n: f.create_virtual_dataset(n, virtual),
        "gzip": lambda f, n: f.create_dataset(n, compression="gzip", **shape),
        "bomb": lambda f, n: f.create_dataset(n, (2**20, 2**20), "f4", chunks=(64, 64)),
        "huge": lambda f, n: f.create_dataset(n, (2**20, 2**20), "f4"),
        "cycle": lambda f, n: f.__setitem__(n, f["/"]),
    }
    for make in storages.values():
        (folder / "imageEncoder.hdf5").write_bytes(original)
        with edit("imageEncoder") as file:
            name = first_kernel(file)
            del file[name]
            make(file, name)
        refused("imageEncoder.hdf5")


def test_many_names(edit, refused):
    with edit("labelEncoder") as file:
        for i in range(5000):
            file.create_group(f"g{i}")
    refused("labelEncoder.hdf5", "too many")


def test_sizes_that_the_authors_code_cannot_have(tmp_path, assert_sentence):
    write_keras(tmp_path, 2, latent=(4, 3))
    with pytest.raises(LDSegError) as error:
        import_keras(tmp_path)
    assert_sentence(error, "labelEncoder.hdf5", "divisible by 64")


@pytest.mark.slow
def test_bit_flips_end_in_a_sentence_or_in_tensors(pristine, tmp_path, assert_sentence):
    """The count is small; benchmarks/fuzz.py does thousands."""
    content = (pristine[3] / "imageEncoder3D.hdf5").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.hdf5"
    for _ in range(24):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 40):
            damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert sum(t.nbytes for t in read_hdf5(path).values()) <= len(content)
        except LDSegError as error:
            assert_sentence(error, "flipped.hdf5")
