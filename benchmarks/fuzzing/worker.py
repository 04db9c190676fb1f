"""The process that reads fuzzed inputs, one after another: a crash or a hang ends only this process.

It reads lines of JSON, [kind, seed, index], and answers each with one: outcome ("accepted", "refused" or why
the input fails), seconds, MiB.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from napari_ldseg.errors import LDSegError, os_error_sentence, printable

MOST_CHARACTERS = 299
SPARE_BYTES = 3 * 2**30  # of address space: more is needed by nothing that a small file describes
KINDS = {
    "images": ("images", "trial"),
    **{kind: ("clinical_files", kind) for kind in ("dicom", "nrrd", "metaimage", "zarr")},
    "projects": ("projects", "trial"),
    "journals": ("projects", "journal_trial"),
    "configurations": ("configurations", "trial"),
    "checkpoints": ("checkpoints", "trial"),
    "hdf5": ("keras_files", "trial"),
}


class Bad(Exception):
    """What an input must not lead to."""


class Attempts:
    """Calls that may be refused with one sentence about a file of ``folder``."""

    def __init__(self, folder: Path):
        self.folder, self.refusals, self.seconds, self.child_mib = folder, 0, 0.0, 0.0
        self.about = ""

    def __call__(self, call, *arguments, os_errors: bool = False, about: str = "", **options):
        """Return the call's result, None if it was refused.

        With ``os_errors`` it may raise those too; a message may be about ``about`` instead of a file.
        """
        self.about = about
        started = time.monotonic()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                return call(*arguments, **options)
        except LDSegError as error:
            self._check_message(str(error))
        except OSError as error:
            if not os_errors:
                raise
            self._check_message(os_error_sentence(error))
        finally:
            self.seconds += time.monotonic() - started
            for warning in warned:
                _check_warning(warning)
        self.refusals += 1
        return None

    def _check_message(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS or len(text.splitlines()) != 1 or not text.isprintable():
            raise Bad(f"message is not one short line: {text!r}")
        if not self._names_a_file(text):
            raise Bad(f"message names no file: {text}")

    def _names_a_file(self, text: str) -> bool:
        if self.folder.name in text or (self.about and printable(self.about)[:40] in text):
            return True
        for _, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                stem = re.sub(r"(\.nii)?\.\w+$", "", name)
                if len(stem) > 2 and (stem in text or stem[:15] in text or name[-15:] in text):
                    return True
        return False


def _check_warning(warning: warnings.WarningMessage) -> None:
    text = str(warning.message)
    if warning.category in (RuntimeWarning, ResourceWarning, SyntaxWarning):
        raise Bad(f"{warning.category.__name__}: {text[:200]}")
    ours = warning.category is UserWarning and "napari_ldseg" in warning.filename
    if ours and (len(text) > MOST_CHARACTERS or not text.isprintable()):
        raise Bad(f"warning is not one short line: {text!r}")


class Sandbox:
    """A folder with one for the input, and around it everything that must stay as it is."""

    def __init__(self, root: Path):
        self.root, self.folder = root, root / "fuzzed"
        for name in ("outside", "temporary", "work"):
            (root / name).mkdir()
        (root / "outside" / "secret.nii.gz").write_bytes(b"not to be touched")
        (root / "outside" / "case.json").write_text("{}")
        (root / "outside" / "project.json").write_text("{}")
        os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = str(root / "temporary")
        os.chdir(root / "work")

    def renew(self) -> None:
        """Empty the input's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def outside(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change of everything beside the input's folder."""
        found = {}
        for parent, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if Path(parent, name) != self.folder]
            found.update({str(Path(parent, name)): (0, 0) for name in folders})
            for path in (Path(parent, name) for name in files):
                status = path.lstat()
                found[str(path)] = (status.st_size, status.st_mtime_ns)
        return found


def read_one(kind: str, seed: int, index: int, sandbox: Sandbox) -> tuple[str, float, float]:
    """Return the outcome of one input, the seconds and the MiB that it needed."""
    module, function = KINDS[kind]
    trial = getattr(importlib.import_module(f"fuzzing.{module}"), function)
    sandbox.renew()
    before = sandbox.outside()
    attempts = Attempts(sandbox.folder)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + SPARE_BYTES, hard))
    _reset_peak()
    resident = _status("VmRSS")
    outcome = None
    try:
        trial(Random(f"{kind} {seed} {index}"), sandbox.folder, attempts)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(frames) if "napari_ldseg" in f.filename), frames[-1])
        text = " ".join(str(error).split())[:300]
        outcome = f"{type(error).__name__} ({Path(place.filename).name}:{place.lineno}): {text}"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    mib = max((_status("VmHWM") - resident) / 2**20, attempts.child_mib)
    if outcome is None and sandbox.outside() != before:
        outcome = "wrote outside its folder"
    if outcome is None:
        outcome = "refused" if attempts.refusals else "accepted"
    return outcome, attempts.seconds, mib


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Return a size of this process in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"{name}:")[2].split()[0])


def main() -> None:
    """Answer every line of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.fsync = lambda descriptor: None  # no power cut is tried, and it takes most of the time
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as root:
        sandbox = Sandbox(Path(root).resolve())
        for line in sys.stdin:
            kind, seed, index = json.loads(line)
            print(json.dumps(read_one(kind, seed, index, sandbox)), file=answers, flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
