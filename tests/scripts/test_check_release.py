"""A release whose files name different versions is stopped."""

import tomllib

import pytest
from check_release import ROOT, disagreements


@pytest.fixture
def folder(tmp_path):
    """Factory of a folder with the files that name a version."""

    def make(package="1.2.0", citation="1.2.0", heading="## 1.2.0"):
        (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{package}"\n')
        (tmp_path / "CITATION.cff").write_text(f"cff-version: 1.2.0\nversion: {citation}\n")
        (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- New.\n\n## 1.1.0\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    "heading", ["## 1.2.0", "## v1.2.0", "## [1.2.0] - 2026-11-28", "## 1.2.0 (new)"]
)
def test_agreement(folder, heading):
    assert disagreements("v1.2.0", folder(heading=heading)) == []


@pytest.mark.parametrize(
    "tag, files, words",
    [
        ("v1.2.0", {"package": "1.1.0"}, "pyproject.toml"),
        ("v1.2.0", {"citation": "1.2.0rc1"}, "CITATION.cff"),
        ("v1.2.0", {"heading": "## Unreleased"}, "CHANGELOG.md"),
        ("v1.2.0", {"heading": "## 1.2.0.1"}, "CHANGELOG.md"),
        ("1.2.0", {}, "pyproject.toml"),
    ],
)
def test_disagreement_names_the_file(folder, tag, files, words):
    (sentence,) = disagreements(tag, folder(**files))
    assert words in sentence and sentence.endswith(".")


def test_package_and_citation_of_this_repository_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    assert all("CHANGELOG" in sentence for sentence in disagreements(f"v{version}"))
