"""A git repository to try the scripts on."""

import os
import subprocess

import pytest


class Repository:
    """A folder under git with files to commit and tags to set."""

    def __init__(self, folder):
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments):
        settings = (
            "user.name=A",
            "user.email=a@b.example",
            "core.hooksPath=",
            "commit.gpgSign=false",
        )
        options = [part for setting in settings for part in ("-c", setting)]
        subprocess.run(
            ["git", *options, *arguments], cwd=self.folder, check=True, capture_output=True
        )

    def put(self, name, content=b"x"):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def commit(self, *names):
        self.git("add", "-f", *names)
        self.git("commit", "-q", "-m", "a commit")

    def release(self, tag):
        self.git("commit", "-q", "--allow-empty", "-m", "a release")
        self.git("tag", tag)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    # A hook's own git settings point at another repository.
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)
