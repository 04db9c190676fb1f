"""A short slice of benchmarks/fuzz.py, and that it notices what it looks for."""

import sys
import warnings
from random import Random

import pytest

from napari_ldseg.errors import LDSegError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer reads /proc"),
]


@pytest.fixture(scope="module")
def worker():
    from fuzz import Worker

    worker = Worker()
    yield worker
    worker.close()


@pytest.mark.parametrize(
    "kind",
    [
        *("images", "dicom", "nrrd", "metaimage", "zarr"),
        *("projects", "journals", "configurations", "checkpoints", "hdf5"),
    ],
)
def test_damaged_files_are_read_or_refused_with_a_sentence(worker, kind):
    from fuzz import fuzz

    failures = []
    summary = fuzz(kind, range(60), 1, worker, failures.append)
    assert not failures
    assert summary.accepted > 0 and summary.refused > 0


def test_an_input_is_the_same_whenever_it_is_repeated(tmp_path):
    from fuzzing import images, projects

    for module, name in ((images, "a"), (projects, "b")):
        contents = []
        for run in "12":
            folder = tmp_path / (name + run)
            folder.mkdir()
            made = Random("images 0 7")
            module.trial(made, folder, lambda *a, **o: None)
            files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
            contents.append([(p.name, p.read_bytes()) for p in files])
        assert contents[0] == contents[1] and contents[0]


def refuse(text):
    raise LDSegError(text)


def test_the_fuzzer_notices_bad_messages_warnings_and_other_errors(tmp_path):
    from fuzzing.worker import Attempts, Bad

    (tmp_path / "scan.nii").touch()
    attempt = Attempts(tmp_path)
    assert attempt(refuse, "scan.nii is damaged.") is None and attempt.refusals == 1
    with pytest.raises(Bad, match="no file"):
        attempt(refuse, "Something is damaged.")
    with pytest.raises(Bad, match="RuntimeWarning"):
        attempt(warnings.warn, "invalid value", RuntimeWarning)
    with pytest.raises(KeyError):
        attempt({}.__getitem__, "scan.nii")


def test_the_fuzzer_names_an_input_that_ends_its_process_and_goes_on(worker):
    worker.read("images", 0, 0)
    worker._process.kill()
    assert worker.read("images", 0, 1).outcome == "crashed (SIGKILL)"
    assert worker.read("images", 0, 0).passed
