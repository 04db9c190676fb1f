"""MONAI Label's sessions: deleting those that have expired, and broken ones, which would end its own clean-up."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

SECONDS_UNFINISHED = 3600  # that storing an image may take
logger = logging.getLogger(__name__)


def remove_expired(sessions: Any) -> int:
    """Delete the expired ones of MONAI Label's ``sessions``; return how many.

    A folder without a readable record is one that is being stored, or what a crash has left of it.
    """
    store, removed = Path(sessions.store_path), 0
    for folder in sorted(store.iterdir()) if store.is_dir() else ():
        try:
            info = sessions.get_session(folder.name, update_ts=False, fetch_cache=False)
            since = folder.stat().st_mtime if info is None else info.last_access_ts
            allowed = SECONDS_UNFINISHED if info is None else info.expiry
        except FileNotFoundError:
            continue  # deleted in the meantime
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            since, allowed = folder.stat().st_mtime, SECONDS_UNFINISHED
        if allowed > 0 and since + allowed < time.time():
            logger.info("Removing the session %s", folder.name)
            sessions.remove_session(folder.name)
            removed += 1
    return removed
