"""What a run reports in its folder, and how it obeys requests to pause and stop."""

import os
from threading import Thread
from time import monotonic, sleep

import pytest

from napari_ldseg.commands.console import ProgressBar
from napari_ldseg.commands.train import shown_in
from napari_ldseg.errors import LDSegError
from napari_ldseg.model.losses import LossTerms
from napari_ldseg.training.log import Progress
from napari_ldseg.training.reporter import Reporter
from napari_ldseg.training.run_folder import STATUS, RunFolder, Status, TrainingStopped
from napari_ldseg.utils.locking import FolderLock


def wait_for(run, phase):
    end = monotonic() + 20
    while run.status().phase != phase:
        assert monotonic() < end, run.status()
        sleep(0.01)


def test_a_pause_waits_and_a_stop_ends_it(tmp_path):
    run, lines = RunFolder(tmp_path), []
    reporter, lock = Reporter(run, lines.append), FolderLock(tmp_path)
    assert lock.acquire()
    count = reporter.counter("measuring", "Segmenting", 3)
    count()
    run.pause()
    thread = Thread(target=reporter.stop_requested)
    thread.start()
    wait_for(run, "paused")
    run.unpause()
    thread.join(20)
    assert not reporter.stop_requested() and run.status().text == "Segmenting: 1 of 3."
    run.pause()
    run.stop()
    with pytest.raises(TrainingStopped) as stopped:
        count()
    reporter.fail(stopped.value)
    assert run.status().phase == "stopped" and lines[0] == "Segmenting …"
    run.withdraw_requests()
    assert not reporter.stop_requested()
    lock.release()


def test_a_run_whose_process_is_gone_is_killed(tmp_path, assert_sentence):
    run, lock = RunFolder(tmp_path / "tiny"), FolderLock(tmp_path / "tiny")
    run.write_status(Status(phase="training", seconds_left=3.0))
    assert lock.acquire() and run.status().phase == "training"
    lock.release()
    killed = run.status()
    assert killed.phase == "killed" and killed.ended and killed.seconds_left is None
    assert_sentence(killed.text, "tiny", "out of memory", "resumed")
    run.write_status(Status(phase="starting"))
    assert run.status().phase == "starting"
    os.utime(run.folder / STATUS, (0, 0))
    assert run.status().phase == "killed"


def test_a_finished_run_may_have_been_moved(tmp_path):
    run = RunFolder(tmp_path / "run")
    Reporter(run).finish("Ready.", run.folder / "checkpoint.safetensors")
    moved = RunFolder(run.folder.rename(tmp_path / "moved"))
    assert moved.status().checkpoint == moved.folder / "checkpoint.safetensors"


@pytest.mark.parametrize("content", ["", "[]", '{"phase": "dancing"}', "\0"])
def test_a_broken_status_is_one_sentence(tmp_path, content, assert_sentence):
    (tmp_path / STATUS).write_text(content)
    with pytest.raises(LDSegError) as error:
        RunFolder(tmp_path).status()
    assert_sentence(error, STATUS)


def test_the_command_shows_the_first_update_and_every_validation(capsys):
    with ProgressBar(40, "updates") as bar:
        show = shown_in(bar)
        for update in range(1, 41):
            dsc = {20: 0.5, 40: 0.75}.get(update)
            terms = (0.5, 0, 0, 0.5) if update < 20 else (1.25, 0.5, 0.75, 0)
            show(Progress(update, 40, LossTerms(*terms), 0.001, 60.0, dsc))
    assert capsys.readouterr().err.splitlines() == [
        "1/40 updates, noise loss 0.500, 00:01:00 left",
        "20/40 updates, loss 1.250, validation DSC 0.500, 00:01:00 left",
        "40/40 updates, loss 1.250, validation DSC 0.750, 00:01:00 left",
    ]
