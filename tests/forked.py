"""Processes of their own that need not load torch again: forks of this one, or of a server beside a window."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
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
    """``napari-ldseg`` with ``arguments`` in such a process; as ``subprocess.Popen`` as far as tests need it.

    ``environment`` adds variables, and ``main`` is what runs the command line of the arguments.
    """

    def __init__(
        self,
        *arguments: object,
        environment: dict[str, str] | None = None,
        main: Callable[[list[str]], None] | None = None,
    ):
        reading, writing = os.pipe()
        given = [str(a) for a in arguments]
        self._process = forked(_command, main, given, environment or {}, output=writing)
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


def ranks(count: int, *arguments: object) -> tuple[list[int | None], str]:
    """Run ``count`` processes of one command as torchrun does; return their exit codes and all they wrote."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    shared |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0}
    processes = []
    for rank in range(count):
        given = shared | {"RANK": rank, "LOCAL_RANK": rank}
        processes.append(
            Command(*arguments, environment={name: str(value) for name, value in given.items()})
        )
    output = "".join(process.communicate(180) for process in processes)
    return [process.returncode for process in processes], output


def _command(
    main: Callable[[list[str]], None] | None, arguments: list[str], environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    tempfile.tempdir = None  # the variables may name another one
    if main is None:
        from .quick_cli import app as main

        # A command of several devices starts the others as it was started itself.
        program = Path(__file__).with_name("quick_cli.py")
        sys.argv, sys.modules["__main__"].__spec__ = [str(program), *arguments], None
        os.environ |= {"PYTHONPATH": str(program.parents[1]), "OMP_NUM_THREADS": "1"}
    main(arguments)
