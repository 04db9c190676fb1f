"""Sampling segmentations of an image that is far larger than the training images, tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LDSegError
from .blending import Blending
from .checks import check_fit, check_integer, check_memory
from .devices import supports_float64
from .finding import BLANK, LEAST_TISSUE, Candidate, find_structures
from .intensity import IntensityRange
from .noise import field_noise
from .posterior import Frame, Posterior
from .preprocessing import normalise
from .region import Region, full_region
from .sampler import PosteriorSampler
from .samples import Samples
from .tiles import Tile, TileGrid, image_part, read_part, restore_part, tile_grid

FINDING_STEPS = 1  # the estimate of the posterior mean
KEPT_BYTES = 2**29  # of image embeddings, and of latents to browse samples


class TiledSampler(PosteriorSampler):
    """Samples segmentations as ``PosteriorSampler`` does, of an image of any size.

    Every tile has its part of one field of noise per sample, and is normalised with the same intensities;
    its probabilities are blended with smooth weights into the posterior, row by row. Sample i depends
    only on (image, checkpoint, settings, seed, i).

    Parameters
    ----------
    focus
        The position, in voxels of a frame's spatial axes, to segment first; by default the centre.
    method
        ``"tile"`` or ``"find"``; by default the checkpoint's, see ``checks.larger_images``.
    **settings
        Those of ``PosteriorSampler``.

    Raises
    ------
    LDSegError
        If the checkpoint does not suit the image, or takes larger images as a whole.
    """

    def __init__(
        self,
        *arguments: Any,
        focus: Sequence[float] | None = None,
        method: str | None = None,
        **settings: Any,
    ):
        self.focus, self._method = focus, method
        self._kept_bytes = 0
        self._done = 0
        self._tiles: dict[Frame, list[Tile]] = {}
        self._ranges: dict[Frame, IntensityRange] = {}
        self._tile_embeddings: dict[tuple[Frame, Tile], Tensor] = {}
        self._tile_latents: dict[tuple[Frame, int, Tile], Tensor] | None = {}
        super().__init__(*arguments, **settings)
        self._symmetries = self._symmetries[:1]  # each would take as long as all tiles of a sample

    @property
    def _typical_part(self) -> float:
        """The median of the tiles around structures; of all tiles a low quantile, as a slide is mostly glass."""
        return 0.5 if self.grid.method == "find" else 0.1

    def _prepare_grid(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        check_fit(self.metadata, self.scan, larger_allowed=True)
        check_memory(self.metadata, self.scan, in_tiles=True)
        grid = tile_grid(self.metadata, self.scan, always=True)
        if grid is None:
            raise LDSegError(
                f"{self.metadata.name} takes an image as a whole, as its training images were; use it "
                "without tiles."
            )
        self.grid: TileGrid = replace(grid, method=self._method or grid.method)  # type: ignore[arg-type]
        self._map = self.grid.mapping
        return self.grid.window, self.grid.window

    def _empty_posterior(self) -> Posterior:
        posterior = super()._empty_posterior()
        posterior.larger = True
        posterior.provenance["larger_image"] = self.grid.method
        self._tile_latents = {}
        self._done = 0
        return posterior

    def prepare(self) -> Iterator[str]:
        """Read the image's intensities and find the structures; yield messages with the progress.

        ``run`` does it too. Raises LDSegError if nothing is found in any frame.
        """
        centre = self.focus or [n / 2 for n in self._space]
        self._model.to(self._device)
        for frame in self._frames:
            if frame in self._tiles:
                continue
            yield "Reading the image …"
            image = self.scan.array[frame] if frame else self.scan.array
            self._ranges[frame] = IntensityRange(
                self.metadata.intensity,
                image,
                self.scan.channels,
                self._frame_name(frame),
                self._digest,
                blank_allowed=len(self._frames) > 1,
            )
            tiles = self.grid.tiles()
            if self.grid.method == "find":
                tiles = yield from self._found(frame)
            self._tiles[frame] = self.grid.nearest_first(tiles, centre)
        self.posterior.provenance["image_sha256"] = self._digest.hexdigest()
        if not any(self._tiles.values()):
            names = " or ".join(c.name for c in self.metadata.classes[1:][:3])
            raise LDSegError(
                f"{self.metadata.name} found no {names} in {self.scan.name}; draw a box around the "
                "structure, or check that the model suits the scan."
            )
        self.posterior.provenance["tiles"] = self.tile_count

    @property
    def _space(self) -> tuple[int, ...]:
        return tuple(self.scan.shape[len(self.scan.shape) - len(self.grid.content) :])

    @property
    def tile_count(self) -> int:
        """The number of tiles of all frames; 0 before ``prepare``."""
        return sum(len(tiles) for tiles in self._tiles.values())

    def sampled_region(self) -> Region:
        """Return the part of the scan that the tiles cover, after ``prepare``."""
        leading = len(self.scan.shape) - len(self.grid.content)
        boxes = [image_part(self._map, t) for tiles in self._tiles.values() for t in tiles]
        start = [min(box[axis].start for box in boxes) for axis in range(len(self.grid.content))]
        stop = [max(box[axis].stop for box in boxes) for axis in range(len(self.grid.content))]
        return Region((*(0,) * leading, *start), (*self.scan.shape[:leading], *stop))

    def projected_seconds(self, n: int) -> float:
        """Return about how long ``n`` samples will take, from one tile that is drawn and not kept."""
        for _ in self.prepare():
            pass
        frame = next(frame for frame, tiles in self._tiles.items() if tiles)
        tile = self._tiles[frame][0]
        started = time.perf_counter()
        self._decode_tiles(self._sample_tiles(frame, [tile], 0, self.steps_for(n)))
        return (time.perf_counter() - started) * self.tile_count * (n + self.has_label_pass(n))

    def run(self, n: int) -> Iterator[Posterior]:
        """Add ``n`` samples; yield the same, growing posterior after every batch of tiles.

        See ``PosteriorSampler.run``. Rows that are finished are part of the posterior at once.
        """
        check_integer("The number of samples", n, 1)
        for _ in self.prepare():
            pass
        total = self.posterior.n + n
        steps = self.steps_for(total)
        if self.posterior.provenance.get("steps", steps) != steps:
            sha256 = self.posterior.provenance["image_sha256"]
            self.posterior = self._empty_posterior()
            self.posterior.provenance |= {"image_sha256": sha256, "tiles": self.tile_count}
        posterior = self.posterior
        posterior.provenance |= {"steps": steps, "label_map": self.label_map_source(total)}
        self._model.to(self._device)
        label_pass = self.has_label_pass(total)
        if label_pass:
            for frame in posterior.planned_frames:
                if not posterior.has_label_map(frame):
                    self._done = self._tiles_before(frame)
                    on_rows = partial(posterior.set_label_map, frame)
                    for _ in self._run_frame(frame, 0, self.metadata.label_steps, on_rows):
                        yield posterior
                    yield posterior
        for sample in range(posterior.n, total):
            for frame in posterior.planned_frames:
                if posterior.counts[frame] <= sample:
                    done = (sample + label_pass) * self.tile_count
                    self._done = done + self._tiles_before(frame)
                    for _ in self._add_sample(frame, sample, steps):
                        yield posterior
                    posterior.complete(frame)
                    yield posterior

    def fraction(self, n: int) -> float:
        """Return the part of the work for ``n`` samples in total that is done, 0 to 1."""
        return self._done / max(1, (n + self.has_label_pass(n)) * self.tile_count)

    def samples(self) -> Samples | None:
        """Return the complete samples so far of ``sampled_region``; None if they are too large to be kept."""
        if self._tile_latents is None:
            return None
        keys = [(frame, tile) for frame, tiles in self._tiles.items() for tile in tiles]
        n = self.posterior.n
        if not all((f, s, t) in self._tile_latents for s in range(n) for f, t in keys):
            return None
        cells = self._model.latent_shape(self.grid.window)
        region, estimate = self.sampled_region(), self.posterior.estimate
        if estimate is not None and region != full_region(self.scan):
            # A copy, as a view would keep the whole scan's in memory.
            estimate = estimate[(slice(None), *region.slices)].clone()
        return TiledSamples(
            self.metadata,
            self._model,
            self._map,
            tuple(b - a for a, b in zip(region.start, region.stop, strict=True)),
            self.posterior.planned_frames,
            torch.empty(n, 0, *cells),
            {**self.posterior.provenance, "samples": n},
            estimate,
            grid=self.grid,
            tiles={frame: tuple(tiles) for frame, tiles in self._tiles.items()},
            tile_latents=dict(self._tile_latents),
            start=region.start[-len(self.grid.content) :],
            window=self.grid.content,
        )

    def latents(self, n: int) -> Tensor:
        """Return ``n`` label embeddings of the first tile, (n, latent_channels, *cells), undecoded."""
        for _ in self.prepare():
            pass
        frame = next(frame for frame, tiles in self._tiles.items() if tiles)
        tile = self._tiles[frame][0]
        drawn = [self._sample_tiles(frame, [tile], i, self.steps_for(n)) for i in range(n)]
        return torch.cat(drawn).float().cpu()

    def _add_sample(self, frame: Frame, sample: int, steps: int) -> Iterator[None]:
        """Add one sample of one frame to the posterior; yield after every batch of tiles."""
        labels = np.zeros(self._space, np.uint8) if self._keep_labels else None

        def on_rows(start: int, probabilities: Tensor) -> None:
            rows = self.posterior.add_rows(frame, sample, start, probabilities)
            if labels is not None:
                labels[start : start + len(rows)] = rows

        for batch in self._run_frame(frame, sample, steps, on_rows):
            for tile, latent in batch:
                self._keep_latent((frame, sample, tile), latent)
            yield
        if labels is not None:
            self.posterior.sample_labels[frame, sample] = labels

    def _run_frame(
        self, frame: Frame, sample: int, steps: int, on_rows: Callable[[int, Tensor], None]
    ) -> Iterator[list[tuple[Tile, Tensor]]]:
        """Draw a sample of all tiles and hand over its rows; yield every batch of tiles and their latents."""
        tiles = self._tiles[frame]
        boxes = {tile: image_part(self._map, tile) for tile in tiles}
        blending = Blending(self._space, len(self.metadata.classes), list(boxes.values()), on_rows)
        done = 0
        while done < len(tiles):
            batch = tiles[done : done + self._batch]
            try:
                latents = self._sample_tiles(frame, batch, sample, steps)
                decoded = self._decode_tiles(latents)
            except (RuntimeError, MemoryError) as error:
                self._halve_batch(error)
                continue
            for tile, probabilities in zip(batch, decoded, strict=True):
                blending.add(boxes[tile], weighted(self.grid, tile, probabilities))
            done += len(batch)
            self._done += len(batch)
            yield list(zip(batch, latents, strict=True))

    def _found(self, frame: Frame) -> Generator[str, None, list[Tile]]:
        """Find the structures of a frame; yield messages and return the tiles around them."""

        def look(tile: Tile) -> Candidate:
            latents = self._sample_tiles(frame, [tile], 0, FINDING_STEPS)
            decoded = self._decode_tiles(latents)[0, 1:].sum(0)
            return Candidate(tile, decoded[self.grid.in_window(tile)].numpy())

        def has_tissue(tile: Tile) -> bool:
            content = self._ranges[frame].normalise(self._content(frame, tile))
            return bool((content > BLANK).mean() > LEAST_TISSUE)

        found = yield from find_structures(self.grid, look, has_tissue)
        self._tile_embeddings.clear()
        self._distances.clear()  # only the tiles that are segmented count
        self._kept_bytes = 0
        return found

    @torch.inference_mode()
    def _sample_tiles(self, frame: Frame, tiles: Sequence[Tile], sample: int, steps: int) -> Tensor:
        """Return z_l(0) of each tile, (tiles, latent_channels, *cells)."""
        z_i = torch.cat([self._tile_embedding(frame, tile) for tile in tiles]).to(self._device)
        shape = self._model.latent_shape(self.grid.window)
        noise = torch.stack(
            [field_noise(self.seed, sample, self.grid.first_cell(tile), shape) for tile in tiles]
        )
        dtype = torch.float64 if supports_float64(self._device) else torch.float32
        return self._model.sample(z_i, noise.to(self._device, dtype), steps)

    @torch.inference_mode()
    def _decode_tiles(self, latents: Tensor) -> Tensor:
        """Return the probabilities (tiles, classes, *window), on the CPU."""
        return self._model.decode(latents, self.grid.window).softmax(1).float().cpu()

    def tile_input(self, frame: Frame, tile: Tile) -> Tensor:
        """Return the networks' input for a tile, (image_channels, *window), 0 to 1."""
        content = self._content(frame, tile)
        if self.grid.method == "find":  # as the training images, which were crops of the same size
            name = self._frame_name(frame)
            content = normalise(self.metadata, content, name, blank_allowed=True)
        else:
            content = self._ranges[frame].normalise(content)
        return self.grid.fill_window(content)

    def _content(self, frame: Frame, tile: Tile) -> np.ndarray:
        """Return the image inside a tile on the networks' grid, float32 (channels, *tile.size)."""
        image = self.scan.array[frame] if frame else self.scan.array
        return read_part(self._map, _ChannelsFirst(image, self.scan.channels), tile)

    def _tile_embedding(self, frame: Frame, tile: Tile) -> Tensor:
        if (frame, tile) in self._tile_embeddings:
            return self._tile_embeddings[frame, tile]
        image = self.tile_input(frame, tile)
        embedding = self._model.encode_image(image[None].to(self._device)).cpu()
        self._measure_distance((frame, tile), image, embedding, self.grid.in_window(tile))
        self._kept_bytes += embedding.nbytes
        if self._kept_bytes < KEPT_BYTES:
            self._tile_embeddings[frame, tile] = embedding
        return embedding

    def _keep_latent(self, key: tuple[Frame, int, Tile], latent: Tensor) -> None:
        if self._tile_latents is None:
            return
        self._tile_latents[key] = latent.float().cpu()
        if len(self._tile_latents) * self._tile_latents[key].nbytes > KEPT_BYTES:
            self._tile_latents = None

    def _tiles_before(self, frame: Frame) -> int:
        before = self._frames[: self._frames.index(frame)]
        return sum(len(self._tiles[other]) for other in before)


@dataclass
class TiledSamples(Samples):
    """The samples of an image that was segmented in tiles, blended when they are decoded.

    Attributes
    ----------
    grid, tiles
        The tiles of each frame.
    tile_latents
        z_l(0) per (frame, sample, tile), (latent_channels, *cells); ``latents`` is empty.
    start
        The first voxel of ``shape`` on the spatial axes of the image that was sampled.
    """

    grid: TileGrid = field(kw_only=True)
    tiles: dict[Frame, tuple[Tile, ...]] = field(kw_only=True)
    tile_latents: dict[tuple[Frame, int, Tile], Tensor] = field(kw_only=True)
    start: tuple[int, ...] = field(kw_only=True)

    @torch.inference_mode()
    def _decode_one(self, sample: int, frame: int) -> Tensor:
        where = self.frames[frame]
        space = self.shape[len(self.shape) - len(self.start) :]
        classes = self.metadata.architecture.classes
        whole = torch.zeros(classes, *space)

        def on_rows(start: int, rows: Tensor) -> None:
            whole[:, start : start + rows.shape[1]] = rows

        boxes = {
            tile: tuple(
                slice(s.start - first, s.stop - first)
                for s, first in zip(image_part(self.mapping, tile), self.start, strict=True)
            )
            for tile in self.tiles[where]
        }
        blending = Blending(space, classes, list(boxes.values()), on_rows)
        device = next(self.model.parameters()).device
        for tile, box in boxes.items():
            latent = self.tile_latents[where, sample, tile][None].to(device)
            probabilities = self.model.decode(latent, self.grid.window).softmax(1).float().cpu()
            blending.add(box, weighted(self.grid, tile, probabilities[0]))
        return whole


def weighted(grid: TileGrid, tile: Tile, probabilities: Tensor) -> Tensor:
    """Return what ``Blending.add`` takes, on the image's grid, from (classes, *window)."""
    content = probabilities[(slice(None), *grid.in_window(tile))]
    weights = grid.weights(tile)
    return restore_part(grid.mapping, torch.cat([content[1:] * weights, weights[None]]), tile)


class _ChannelsFirst:
    """An image (*space) or (*space, channels) that is indexed as (channels, *space), read on demand."""

    def __init__(self, image: Any, channels: bool):
        self._image, self._channels = image, channels

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        part = np.asarray(self._image[key[1:]])
        return np.moveaxis(part, -1, 0) if self._channels else part[None]
