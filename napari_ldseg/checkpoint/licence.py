"""What a checkpoint's licence, a free text in its metadata, lets its user do."""

from __future__ import annotations

import re

_NON_COMMERCIAL = re.compile(
    r"\bnon[\s-]*commercial"
    r"|\bby[\s-]+nc\b"
    r"|\b(no|not\s+for|not\s+allowed\s+for)\s+commercial"
    r"|\bcommercial\s+uses?\s+(is|are)\s+(not|forbidden|prohibited|excluded)"
    r"|\b(research|academic|educational)([\s-]+(use|purposes?))?[\s-]+only\b"
    r"|\bonly\s+(for|in)\s+(research|academic|education)",
    re.IGNORECASE,
)


def is_non_commercial(licence: str) -> bool:
    """Return whether ``licence`` forbids commercial use, as far as its wording shows.

    Knows the NC licences of Creative Commons by name and by identifier ("CC BY-NC-SA 4.0",
    "CC-BY-NC-4.0", "Attribution-NonCommercial") and common wordings such as "research only", "for
    research purposes only", "non-commercial" and "not for commercial use". False does not mean that
    commercial use is allowed: a licence that is not stated allows nothing.
    """
    return _NON_COMMERCIAL.search(licence) is not None
