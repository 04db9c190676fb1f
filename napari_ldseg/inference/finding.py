"""Finding a model's structures in a scan that is far larger than the training images.

The model was trained on crops around its structure, so it draws one into most tiles of a scan that do not
hold any. A true structure differs in that every tile that holds it shows it at the same place of the scan,
while one that is not there moves with the tile. The search therefore slides over the scan in coarse tiles
and takes one sample in one step of each, moves a tile onto each of the best candidates, and keeps those that
stay in place when the tile is shifted. Only these are segmented, each in a tile around its centre.

In the MNI152 head with the bundled hippocampus model, the agreement of the shifted tiles is 0.73 for both
hippocampi, and at most 0.65 for the four strongest other candidates. The thresholds come from this one head.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from .tiles import Tile, TileGrid

COARSE_OVERLAP = 0.4  # of a tile's content
BLANK = 0.05  # of the intensity range: voxels below are air
LEAST_TISSUE = 0.3  # share of a tile's voxels that are not air
CANDIDATES = 12
LEAST_STRENGTH = 0.3  # of the best candidate's
MOVES = 3
SHIFT = 0.3  # of a tile's content
LEAST_AGREEMENT, LEAST_RELATIVE = 0.68, 0.92  # alone, and of the best candidate's
APART = 0.35  # of a tile's content: nearer candidates are the same structure


@dataclass(frozen=True)
class Candidate:
    """What a tile shows: foreground probability float32 (*tile.size), and its centre on the grid.

    ``strength`` is the sum of the squared probabilities, which counts certain voxels most.
    """

    tile: Tile
    probability: np.ndarray

    @property
    def strength(self) -> float:
        """How much foreground there is and how certain."""
        return float((self.probability.astype(np.float64) ** 2).sum())

    @property
    def centre(self) -> np.ndarray:
        """The centre of the squared probabilities, in voxels of the grid."""
        weights = self.probability.astype(np.float64) ** 2
        total = max(weights.sum(), 1e-12)
        places = []
        for axis, start in enumerate(self.tile.start):
            others = tuple(a for a in range(weights.ndim) if a != axis)
            profile = weights.sum(others)
            places.append(start + (profile * (np.arange(len(profile)) + 0.5)).sum() / total)
        return np.array(places)


Look = Callable[[Tile], Candidate]


def find_structures(
    grid: TileGrid, look: Look, has_tissue: Callable[[Tile], bool]
) -> Generator[str, None, list[Tile]]:
    """Find structures: yield messages with the progress, and return the tiles around them.

    ``look`` segments a tile, ``has_tissue`` says whether it is worth looking at.
    """
    coarse = [tile for tile in grid.tiles(COARSE_OVERLAP) if has_tissue(tile)]
    seen = []
    for number, tile in enumerate(coarse, start=1):
        seen.append(look(tile))
        yield f"Finding the region: tile {number} of {len(coarse)}"
    centred: list[Candidate] = []
    best = distinct(grid, seen)
    for number, candidate in enumerate(best, start=1):
        for _ in range(MOVES):
            tile = grid.tile_around(candidate.centre)
            if tile == candidate.tile:
                break
            candidate = look(tile)
        centred.append(candidate)
        yield f"Finding the region: candidate {number} of {len(best)}"
    agreements = []
    best = distinct(grid, centred)
    for number, candidate in enumerate(best, start=1):
        shifted = [look(tile) for tile in shifted_tiles(grid, candidate.tile)]
        agreements.append(float(np.mean([agreement(candidate, other) for other in shifted])))
        yield f"Finding the region: checking candidate {number} of {len(best)}"
    least = max(LEAST_AGREEMENT, LEAST_RELATIVE * max(agreements, default=0))
    return [c.tile for c, agrees in zip(best, agreements, strict=True) if agrees >= least]


def distinct(grid: TileGrid, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the strongest candidates, none of them much weaker than the best or near a stronger one."""
    content = np.array(grid.content)
    ranked = sorted(candidates, key=lambda c: -c.strength)
    kept: list[tuple[Candidate, np.ndarray]] = []
    for candidate in ranked:
        if len(kept) == CANDIDATES or candidate.strength < LEAST_STRENGTH * ranked[0].strength:
            break
        centre = candidate.centre
        if candidate.strength > 0 and all(
            (abs(centre - other) > APART * content).any() for _, other in kept
        ):
            kept.append((candidate, centre))
    return [candidate for candidate, _ in kept]


def shifted_tiles(grid: TileGrid, tile: Tile) -> list[Tile]:
    """Return the tiles shifted to both sides along each axis, as far as they are inside the grid."""
    middle = (np.array(tile.start) + np.array(tile.stop)) / 2
    shifts = []
    for axis, sign in itertools.product(range(len(middle)), (-1, 1)):
        moved = middle.copy()
        moved[axis] += sign * SHIFT * grid.content[axis]
        shifts.append(grid.tile_around(moved))
    return [other for other in dict.fromkeys(shifts) if other != tile]


def agreement(one: Candidate, other: Candidate) -> float:
    """Return the soft Dice of two candidates on the part of the grid that both tiles cover, 0 to 1."""
    low = np.maximum(one.tile.start, other.tile.start)
    high = np.minimum(one.tile.stop, other.tile.stop)
    parts = [
        c.probability[
            tuple(slice(a - s, b - s) for a, b, s in zip(low, high, c.tile.start, strict=True))
        ]
        for c in (one, other)
    ]
    total = float(parts[0].sum() + parts[1].sum())
    return 2 * float(np.minimum(*parts).sum()) / total if total > 0 else 0.0
