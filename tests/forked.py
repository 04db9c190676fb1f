"""Processes of their own that need not load torch again: forks of this one, or of a server beside a window."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def forked(work: Callable[..., Any], *arguments: Any, output: int) -> multiprocessing.Process:
    """Start ``work`` in a process with one thread, whose standard output and error go to a file descriptor."""
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(work, arguments, output)
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of other threads; the new process needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


def _work(work: Callable[..., Any], arguments: tuple[Any, ...], output: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    torch.set_num_threads(1)  # the threads of OpenMP are gone in a fork
    for target in (1, 2):
        os.dup2(output, target)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
    sys.exit(work(*arguments))


def served(work: Callable[..., Any], *arguments: Any, output: Path) -> None:
    """Start ``work`` in a fork of a process that has loaded training but no window; it appends to ``output``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["napari_ldseg.finetuning.retrain", "monai.losses"])
    context.Process(target=_append, args=(work, arguments, output)).start()


def _append(work: Callable[..., Any], arguments: tuple[Any, ...], output: Path) -> None:
    with output.open("ab") as file:
        _work(work, arguments, file.fileno())


class Command:
    """``napari-ldseg`` with ``arguments`` in such a process; as ``subprocess.Popen`` as far as tests need it."""

    def __init__(self, *arguments: object):
        reading, writing = os.pipe()
        self._process = forked(_command, [str(a) for a in arguments], output=writing)
        os.close(writing)
        self.stderr = os.fdopen(reading)

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it works."""
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End the process as the system does when memory is short."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> str:
        """Wait for the end; return what the process wrote since the last line that was read."""
        with self.stderr:
            rest = self.stderr.read()
        self._process.join(timeout)
        return rest


def _command(arguments: list[str]) -> None:
    from .quick_cli import app

    app(arguments)
