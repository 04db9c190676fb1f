"""Work in a thread of which only the latest result counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker


class Latest:
    """Runs one piece of work after another; what was started before the latest is forgotten.

    Lives in the GUI thread, in which the results arrive.
    """

    def __init__(self) -> None:
        self._worker: Any = None

    @property
    def busy(self) -> bool:
        """Whether the latest work still runs."""
        return self._worker is not None

    def start(
        self,
        work: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], object],
        failed: Callable[[Exception], object],
        yielded: Callable[[Any], object] | None = None,
    ) -> None:
        """Run ``work(*args)``, a function or a generator, and drop what runs.

        Then ``done`` gets what it returns, or ``failed`` what it raises; ``yielded`` gets each value of a
        generator. None is called once the work has been dropped. A generator must not raise RuntimeError,
        which napari swallows.
        """
        self.drop()
        worker = create_worker(work, *args, _start_thread=False, _ignore_errors=True)

        def ended(action: Callable[[Any], object], outcome: Any) -> None:
            if self._worker is worker:
                self._worker = None
                action(outcome)

        def passed_on(value: Any) -> None:
            if self._worker is worker and yielded is not None:
                yielded(value)

        worker.returned.connect(lambda outcome: ended(done, outcome))
        worker.errored.connect(lambda error: ended(failed, error))
        if yielded is not None:
            worker.yielded.connect(passed_on)
        self._worker = worker
        worker.start()

    def drop(self) -> None:
        """Forget what runs; a generator stops at its next yield."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.quit()
