"""Messages, progress and signals of the command line."""

import io
import os
import signal
import sys

import pytest
import typer

from napari_ldseg.commands import console
from napari_ldseg.commands.console import ProgressBar, plain_errors
from napari_ldseg.errors import LDSegError
from napari_ldseg.utils.signals import stop_signals


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Function that makes standard error a terminal and returns it; pytest replaces it before each test."""

    def make():
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return make


def test_lines_without_a_terminal(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with ProgressBar(4, "samples") as bar:
        assert not bar.on_terminal
        for now[0] in (10.0, 40.0, 41.0):
            bar.advance()
        bar.update(3, 3600, "loss 0.5", now=True)
        bar.print("a line")
        bar.advance()
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        "2/4 samples, 00:00:40 left",
        "3/4 samples, loss 0.5, 01:00:00 left",
        "a line",
        "4/4 samples, 00:00:00 left",
    ]


def test_a_bar_on_a_terminal(terminal, capsys):
    output = terminal()
    with ProgressBar(3, "images") as bar:
        assert bar.on_terminal
        bar.update(1.5, 90)
        bar._bar.refresh()  # without waiting for the next automatic one
        bar.print("scan [1]: segmented")
        print("standard output is not part of the bar")
        bar.update(3)
    text = output.getvalue()
    assert "1/3 images, 00:01:30 left" in text and "3/3 images" in text
    assert "scan [1]: segmented" in text and "━" in text
    assert capsys.readouterr().out == "standard output is not part of the bar\n"


def test_no_bar_if_it_is_disabled_or_the_terminal_is_dumb(terminal, monkeypatch):
    output = terminal()
    with ProgressBar(3, "images", enabled=False) as bar:
        bar.update(3)
        bar.print("a line")
    assert output.getvalue() == "a line\n"
    monkeypatch.setenv("TERM", "dumb")
    assert not ProgressBar(3, "images").on_terminal


def test_errors_are_one_printable_line(capsys):
    for error, words in (
        (LDSegError("scan\x1b[2J\n.nii is damaged."), "scan?[2J .nii is damaged."),
        (
            OSError(28, "No space left on device", "out"),
            "out could not be read or written: No space",
        ),
        (MemoryError(), "Out of memory"),
    ):
        with pytest.raises(typer.Exit) as exit_, plain_errors(3):
            raise error
        assert exit_.value.exit_code == 3
        text = capsys.readouterr().err
        assert text.startswith(words) and text.count("\n") == 1
    with pytest.raises(RuntimeError, match="bug"), plain_errors():
        raise RuntimeError("bug")


def test_the_first_signal_stops_and_the_second_aborts():
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        stopped = stop_signals()
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
