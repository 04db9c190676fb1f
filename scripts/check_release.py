"""Check that a version tag, the package, the citation and the changelog name the same version.

check_release.py v0.1.0: run by the release workflow before anything is built. Needs only Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def disagreements(tag: str, root: Path = ROOT) -> list[str]:
    """Return one sentence per file in ``root`` that does not fit the version tag ``tag``, such as v0.1.0."""
    version = tag.removeprefix("v")
    found = []
    package = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    if tag != f"v{package}":
        found.append(
            f"The tag is {tag}, but pyproject.toml has version {package}: the tag must be v{package}."
        )
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    if not re.search(rf"^version: [\"']?{re.escape(version)}[\"']?$", citation, re.MULTILINE):
        found.append(f"CITATION.cff must have the line 'version: {version}'.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[?v?{re.escape(version)}(?![\w.])", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md must have a heading '## {version}' for what is released.")
    return found


def main() -> int:
    """Check the tag that the command line gives."""
    if len(sys.argv) != 2:
        print("usage: check_release.py TAG", file=sys.stderr)
        return 2
    found = disagreements(sys.argv[1])
    print("\n".join(found) or f"{sys.argv[1]}: package, citation and changelog agree.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
