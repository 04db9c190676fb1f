"""State that all widgets of one viewer share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from napari.components import ViewerModel

from .layers import unwrapped

State = TypeVar("State")


class OnePerViewer(Generic[State]):
    """Call it with a viewer to get that viewer's state; the first call creates it with ``create``.

    The state must refer to its viewer weakly: it is kept for as long as the viewer is.
    """

    def __init__(self, create: Callable[[ViewerModel], State]):
        self._create = create
        self._states: WeakKeyDictionary[ViewerModel, State] = WeakKeyDictionary()

    def __call__(self, viewer: ViewerModel) -> State:
        """Return the state of ``viewer``, or of the viewer behind napari's proxy."""
        viewer = unwrapped(viewer)
        if viewer not in self._states:
            self._states[viewer] = self._create(viewer)
        return self._states[viewer]

    def forget(self, viewer: ViewerModel) -> None:
        """Create a new state at the next call for ``viewer``."""
        self._states.pop(unwrapped(viewer), None)
