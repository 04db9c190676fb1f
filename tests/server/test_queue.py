"""The queue in front of the device, and the one model in memory."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.server.jobs import Busy, Cancelled, JobQueue, check_cancelled
from napari_ldseg.server.loaded import LoadedModel

SECONDS = 10


@pytest.fixture
def jobs():
    """A queue in which two jobs may wait."""
    jobs = JobQueue(waiting=2)
    yield jobs
    jobs.close()


def test_jobs_are_done_in_their_order_and_one_too_many_is_refused(jobs):
    go, order = threading.Event(), []

    def work(number):
        go.wait(SECONDS)
        order.append(number)
        return number

    queued = [jobs.submit(lambda number=number: work(number)) for number in range(3)]
    with pytest.raises(Busy, match="busy"):
        jobs.submit(lambda: 3)
    go.set()
    assert [job.future.result(SECONDS) for job in queued] == order == [0, 1, 2]
    assert jobs.submit(lambda: 4).future.result(SECONDS) == 4


def test_a_cancelled_job_stops_or_is_never_begun(jobs):
    started, ended = threading.Event(), threading.Event()

    def endless():
        started.set()
        try:
            while True:
                check_cancelled()
        finally:
            ended.set()

    running = jobs.submit(endless)
    waiting = jobs.submit(lambda: pytest.fail("was not wanted"))
    assert started.wait(SECONDS)
    waiting.cancel()
    running.cancel()
    with pytest.raises(Cancelled):
        running.future.result(SECONDS)
    with pytest.raises(CancelledError):
        waiting.future.result(SECONDS)
    assert ended.is_set() and jobs.submit(lambda: 1).future.result(SECONDS) == 1
    assert jobs.load <= 1


def test_the_end_of_the_server_cancels_what_runs_and_what_waits(jobs):
    started = threading.Event()

    def endless():
        started.set()
        while True:
            check_cancelled()

    running, waiting = jobs.submit(endless), jobs.submit(lambda: pytest.fail("was not wanted"))
    assert started.wait(SECONDS)
    jobs.cancel_all()
    with pytest.raises(Cancelled):
        running.future.result(SECONDS)
    with pytest.raises(CancelledError):
        waiting.future.result(SECONDS)
    assert jobs.load == 0


def test_jobs_whose_clients_have_gone_take_no_place(jobs):
    go = threading.Event()
    jobs.submit(go.wait)
    gone = [jobs.submit(lambda: 0) for _ in range(2)]
    with pytest.raises(Busy):
        jobs.submit(lambda: 1)
    for job in gone:
        job.cancel()
    stayed = jobs.submit(lambda: 2)
    assert jobs.before(stayed) == 1 and jobs.load == 2
    go.set()
    assert stayed.future.result(SECONDS) == 2


def test_whatever_a_job_raises_is_its_own_result(jobs):
    def fails():
        raise MemoryError

    with pytest.raises(MemoryError):
        jobs.submit(fails).future.result(SECONDS)
    assert jobs.submit(lambda: 1).future.result(SECONDS) == 1


def test_one_model_is_in_memory_and_a_changed_file_is_read_again(tiny_checkpoint, tmp_path):
    first, second = (tmp_path / f"{name}.safetensors" for name in ("first", "second"))
    save_checkpoint(tiny_checkpoint(), first)
    save_checkpoint(tiny_checkpoint(3), second)
    loaded = LoadedModel()
    model = loaded.get(first).model
    assert loaded.get(first).model is model
    gone = weakref.ref(model)
    del model
    assert loaded.get(second).metadata.architecture.dims == 3
    gc.collect()
    assert gone() is None and loaded.path == second
    save_checkpoint(tiny_checkpoint(2, 3), second)
    assert len(loaded.get(second).metadata.classes) == 3
