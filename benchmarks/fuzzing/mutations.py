"""Damage to bytes, texts and JSON, all of it decided by the random generator that is passed."""

from __future__ import annotations

import copy
import json
import re
from random import Random
from typing import Any

FILLERS = (b"\xff", b"\x00", b"\x7f", b"\x80", b"\x01")
LONG, DEEP = 5000, 20_000
TEXTS = (
    "",
    " ",
    "x" * LONG,
    "name " * 500,
    "../../outside/secret.nii.gz",
    "../outside",
    "/etc/passwd",
    "C:\\Windows\\system.ini",
    "~root/$HOME",
    ".",
    "..",
    "a\nb\r\tc\x00\x1b[2J",
    "\ud800",
    "\u202egnp.exe",
    "=1+1",
    "%s{0}{name}",
    "é" * 150,
    "NaN",
    "-1",
    "1e999",
    "null",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{SUPERSCRIPT TWO}",
)
NUMBERS = (
    *(0, -1, 1, 2, 3, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64),
    *(-(2**31), -(2**63), 10**30, 10**308, 10**400),
    *(0.5, -0.0, 1e-320, 1e30, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
)
EMPTY = (None, True, False, [], {}, [[]], [None], {"": None})


def damaged(data: bytes, rng: Random, other: bytes = b"") -> bytes:
    """Return ``data`` with a few bytes flipped, cut, overwritten, inserted, moved or spliced with ``other``."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if not result:
            break
        _damage(result, rng, other)
    return bytes(result)


def _damage(data: bytearray, rng: Random, other: bytes) -> None:
    # Half of the time in the first bytes, where headers are.
    end = len(data) if rng.random() < 0.5 else min(len(data), 600)
    start, length = rng.randrange(end), rng.choice((1, 2, 4, 8, 64, 512))
    kind = rng.randrange(9)
    if kind <= 2:
        for _ in range(rng.choice((1, 2, 16))):
            data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del data[rng.randrange(len(data)) :]
    elif kind == 4:
        data[start : start + length] = rng.choice(FILLERS) * len(data[start : start + length])
    elif kind == 5:
        data[start:start] = rng.randbytes(length) if rng.random() < 0.5 else data[:length]
    elif kind == 6:
        del data[start : start + length]
    elif kind == 7:
        source = rng.randrange(len(data))
        data[start : start + length] = data[source : source + length]
    elif other:
        data[start:] = other[rng.randrange(len(other)) :]
    else:
        _replace_digits(data, rng)


def _replace_digits(data: bytearray, rng: Random) -> None:
    """Replace a number that is written out by another one of the same length."""
    found = list(re.finditer(rb"\d+", bytes(data)))
    if found:
        one = rng.choice(found)
        data[one.start() : one.end()] = rng.choice((b"9", b"0", b"-", b"e")) * len(one.group())


def damaged_json(content: Any, rng: Random) -> bytes:
    """Return the JSON of ``content`` with one to three of its values, keys or bytes changed."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = damaged_tree(content, rng)
    text = json.dumps(content, ensure_ascii=rng.random() < 0.5)
    return _encoded(_damaged_text(text, rng), rng)


def damaged_tree(content: Any, rng: Random) -> Any:
    """Return ``content``, of which one value or key was changed."""
    places = list(_places(content))
    if not places or rng.random() < 0.02:
        return odd_value(rng)
    parent, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(TEXTS)] = parent.pop(key)
    elif kind == 1:
        parent.insert(key, odd_value(rng))
    elif kind == 2 and isinstance(parent[key], list) and parent[key]:
        parent[key] = parent[key] * rng.choice((2, 3, 300))
    elif kind == 3:
        _, other = rng.choice(places)
        found = [p[k] for p, k in places if k == other]
        parent[key] = json.loads(json.dumps(rng.choice(found)))
    else:
        parent[key] = odd_value(rng, like=parent[key])
    return content


def odd_value(rng: Random, like: Any = None) -> Any:
    """Return a value that a careless reader does not expect, often of the type of ``like``."""
    kinds: list[Any] = [TEXTS, NUMBERS, EMPTY]
    if isinstance(like, str):
        kinds += [TEXTS, TEXTS, [like + "x", like.upper(), like[: len(like) // 2], f"../{like}"]]
    elif isinstance(like, int | float):
        kinds += [NUMBERS, NUMBERS, [like + 1, -like, str(like)]]
    # A copy, since a list or dict may be changed by the next damage.
    return copy.deepcopy(rng.choice(rng.choice(kinds)))


def _places(content: Any):
    """Yield every (parent, key) of a tree of dicts and lists."""
    parents, seen = [content], set()
    while parents:
        parent = parents.pop()
        if id(parent) in seen:  # a mutation can put a part into itself
            continue
        seen.add(id(parent))
        pairs = parent.items() if isinstance(parent, dict) else ()
        if isinstance(parent, list):
            pairs = enumerate(parent)
        for key, value in list(pairs):
            yield parent, key
            parents.append(value)


def _damaged_text(text: str, rng: Random) -> str:
    """Return ``text``, seldom with what only a text can have: a key twice, endless brackets, comments."""
    kind = rng.randrange(24)
    place = rng.randrange(len(text) + 1)
    if kind == 0 and text.startswith("{"):
        return f'{{"name": 1, "format_version": 2, {text[1:]}'
    if kind == 1:
        bracket = rng.choice(("[", '{"a":', "[[", "]"))
        return text[:place] + bracket * DEEP + text[place:]
    if kind == 2:
        return text[:place] + rng.choice(TEXTS) + text[place:]
    if kind == 3:
        return text[:place]
    if kind == 4:
        return text + rng.choice((",", "}", "\0", text, "//", "\n\n"))
    if kind == 5:
        return re.sub(r"\d+", lambda m: m.group() * rng.choice((1, 1, 1, 2000)), text)
    return text


def _encoded(text: str, rng: Random) -> bytes:
    kind = rng.randrange(16)
    if kind == 0:
        return text.encode("utf-16", "surrogatepass")
    if kind == 1:
        return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
    if kind == 2:
        return damaged(text.encode("utf-8", "surrogatepass"), rng)
    if kind == 3:
        return text.encode("latin-1", "replace")
    return text.encode("utf-8", "surrogatepass")
