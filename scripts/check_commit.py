"""Keep patients' data, stray weights and big files out of the repository.

check_commit.py [FILE ...]: checks the files of a commit, as pre-commit passes them; without any, all tracked
files. Needs only Python and git.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = "napari_ldseg/checkpoints"
DATA_FOLDERS = ("sample_data", "tests")
MAX_BYTES = 1_000_000
MAX_CHECKPOINT_BYTES = 10_000_000
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".keras", ".h5", ".hdf5", ".tflite")
DATA = (
    *(
        ".nii",
        ".nii.gz",
        ".dcm",
        ".dicom",
        ".ima",
        ".nrrd",
        ".nhdr",
        ".mha",
        ".mhd",
        ".mgh",
        ".mgz",
        ".mnc",
    ),
    *(".img", ".img.gz", ".hdr", ".raw", ".npy", ".npz", ".mat", ".zarr"),
    *(".tif", ".tiff", ".svs", ".ndpi", ".mrxs", ".czi"),
    *(".zip", ".7z", ".tar", ".tgz", ".tar.gz"),
)


def objection(repository: Path, name: str) -> str | None:
    """Return why the file ``name``, a path from the top of ``repository``, must not be committed, or None."""
    path = repository / name
    folder = PurePosixPath(name).parent
    is_checkpoint = folder == PurePosixPath(CHECKPOINTS) and name.endswith(".safetensors")
    if name.lower().endswith(WEIGHTS) and not is_checkpoint:
        return f"weights belong in {CHECKPOINTS}, through scripts/bundle_checkpoint.py."
    if not is_below(folder, DATA_FOLDERS) and (name.lower().endswith(DATA) or is_dicom(path)):
        return f"looks like image data; only synthetic samples belong here, in {' or '.join(DATA_FOLDERS)}."
    limit = MAX_CHECKPOINT_BYTES if is_checkpoint else MAX_BYTES
    if path.lstat().st_size > limit:
        return f"is larger than {limit // 1_000_000} MB; make it smaller or keep it elsewhere."
    if is_checkpoint and is_staged(repository, name):
        return already_changed(repository, name)
    return None


def is_below(folder: PurePosixPath, tops: tuple[str, ...]) -> bool:
    """Return whether ``folder`` is one of the top folders ``tops``, or is inside one."""
    return bool(folder.parts) and folder.parts[0] in tops


def is_dicom(path: Path) -> bool:
    """Return whether the content is DICOM, whose files often have no suffix."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def already_changed(repository: Path, name: str) -> str | None:
    """Return an objection if the history has changed the checkpoint ``name`` since the last version tag.

    Every version of a checkpoint stays in the history for good, so each may change once per release.
    """
    found = git(repository, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    tag = found.stdout.strip() if found.returncode == 0 else None
    changes = git(
        repository,
        "log",
        "--full-history",
        "--format=%h",
        f"{tag}..HEAD" if tag else "HEAD",
        "--",
        name,
    ).stdout.split()
    if not changes:
        return None
    since = f"since {tag}" if tag else "before the first release"
    return (
        f"was already changed {since} (commit {changes[0]}); a checkpoint changes at most once per release: "
        "release first, then bundle the new one."
    )


def is_staged(repository: Path, name: str) -> bool:
    """Return whether the commit being made changes ``name``."""
    return bool(git(repository, "diff", "--cached", "--name-only", "--", name).stdout.strip())


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in ``repository`` and return what came of it."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def main(names: list[str], repository: Path = ROOT) -> int:
    """Print an objection per file, and return how many files have one (at most 1)."""
    names = names or git(repository, "ls-files", "-z").stdout.split("\0")[:-1]
    found = {name: objection(repository, PurePosixPath(name).as_posix()) for name in names}
    refused = {name: reason for name, reason in found.items() if reason is not None}
    for name, reason in refused.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
