"""The bounded queue in front of the one device: a job waits, runs, and is dropped when its client goes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..errors import LDSegError

WAITING = 64  # jobs that may wait; one more is refused
_current = threading.local()


class Busy(LDSegError):
    """The queue is full; the client may try again."""


class Cancelled(Exception):
    """The job is no longer wanted."""


@dataclass
class Job:
    """One piece of work, in the order of ``number``; ``future`` has its result."""

    work: Callable[[], Any]
    number: int = 0
    future: Future = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Drop the job if it waits, and ask it to stop if it runs."""
        self.cancelled.set()
        self.future.cancel()


def check_cancelled() -> None:
    """Raise Cancelled if the job that runs in this thread is no longer wanted; outside of jobs do nothing."""
    job: Job | None = getattr(_current, "job", None)
    if job is not None and job.cancelled.is_set():
        raise Cancelled


class JobQueue:
    """Runs jobs one after the other in a thread of its own, in the order in which they came.

    Whatever a job raises is its own result: the thread goes on with the next one.

    Parameters
    ----------
    waiting
        How many jobs may wait, besides the one that runs.
    """

    def __init__(self, waiting: int = WAITING):
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._waiting = waiting
        self._guard = threading.Lock()
        self._submitted = 0
        self._open: dict[int, Job] = {}  # those that wait or run, by their numbers
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    @property
    def load(self) -> int:
        """How many jobs wait or run."""
        return len(self._open)

    def submit(self, work: Callable[[], Any]) -> Job:
        """Queue ``work``, a function without parameters, and return its job.

        Raises
        ------
        Busy
            If the queue is full.
        """
        with self._guard:
            if len(self._open) > self._waiting:
                raise Busy(
                    f"The server is busy: {self._waiting} requests are waiting; try again in some seconds."
                )
            job = Job(work, self._submitted)
            self._submitted += 1
            self._open[job.number] = job
            self._jobs.put(job)
        job.future.add_done_callback(lambda future: self._open.pop(job.number, None))
        return job

    def before(self, job: Job) -> int:
        """Return how many jobs come before ``job``, with the one that runs."""
        return sum(number < job.number for number in self._open.copy())

    def cancel_all(self) -> None:
        """Cancel every job."""
        for job in list(self._open.values()):
            job.cancel()

    def close(self) -> None:
        """End the thread after the jobs that were queued."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)
            del job  # else its result stays in memory until the next one

    @staticmethod
    def _do(job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        _current.job = job
        try:
            result = job.work()
        except BaseException as error:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
        finally:
            _current.job = None
