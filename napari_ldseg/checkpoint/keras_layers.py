"""The layers of a Keras weight file in order of creation, and their assignment to the torch networks.

Keras stores ``layer/.../weight:0``. Layers of one type, sorted by the number at the end of their names,
are in the order in which the authors' code created them; the numbers have offsets and gaps.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import LDSegError
from ..model.authors import NormedSkipAttention
from ..model.blocks import BatchNorm, GroupNorm, ResidualBlock, SelfAttention
from .hdf5 import quoted

# The layer that only this network's file has; a label decoder has none.
OUTPUTS = {
    "label_encoder": "encoder_output",
    "image_encoder": "embedding_output",
    "denoiser": "denoiser_output",
}
NAMES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


class Layers:
    """The tensors of one file by layer name and weight name ("kernel", "dense_3/kernel")."""

    def __init__(self, file: str, part: str, tensors: dict[str, np.ndarray]):
        self.file, self.part = file, part
        self.paths: dict[tuple[str, str], str] = {}
        self._layers: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        self._kinds: dict[str, list[str]] = defaultdict(list)
        for path, value in tensors.items():
            layer, *between, weight = path.split("/")
            inner = between[-1] if between and between[-1] != layer else ""
            key = f"{inner}/{weight}" if inner else weight
            key = key.removesuffix(":0")
            if key in self._layers[layer]:
                raise self.error(path, "occurs twice")
            self._layers[layer][key] = value
            self.paths[layer, key] = path
        for layer in self._layers:
            self._kinds[_kind(layer)].append(layer)
        for kind in self._kinds.values():
            kind.sort(key=_number)
        self._check_outputs()

    @property
    def dims(self) -> int:
        """2 or 3, from the type of the convolutions."""
        return 3 if self._kinds.get("conv3d") else 2

    def error(self, tensor: str, reason: str) -> LDSegError:
        """Return the error that names the file and the tensor."""
        network = self.part.replace("_", " ")
        return LDSegError(
            f"{self.file}: {quoted(tensor)} {reason}, so this is not an LDSeg {network} or it is damaged."
        )

    def of_kind(self, kind: str) -> list[str]:
        """Return the layers of a type in order of creation."""
        return self._kinds.get(kind, [])

    def shape(self, layer: str, weight: str) -> tuple[int, ...]:
        """Return a weight's shape."""
        if weight not in self._layers.get(layer, {}):
            raise self.error(f"{layer}/{weight}:0", "is missing")
        return self._layers[layer][weight].shape

    def kernel(self, index: int) -> tuple[int, ...]:
        """Return the kernel's shape (*space, inputs, outputs) of the convolution number ``index``."""
        layers = self.of_kind(f"conv{self.dims}d")
        if not -len(layers) <= index < len(layers):
            raise self.error(f"conv{self.dims}d/kernel:0", "is missing")
        return self._checked_shape(layers[index], "kernel", "bias", self.dims + 2)

    def widths(self, first: int, step: int, rest: int) -> tuple[int, ...]:
        """Return the outputs of every ``step``-th convolution, without the last ``rest`` ones."""
        count = len(self.of_kind(f"conv{self.dims}d")) - first - rest
        if count < step or count % step:
            last = (self.of_kind(f"conv{self.dims}d") or [f"conv{self.dims}d"])[-1]
            raise self.error(f"{last}/kernel:0", "is the last of a wrong number of convolutions")
        return tuple(self.kernel(first + i)[-1] for i in range(0, count, step))

    def gammas(self, kind: str) -> list[int]:
        """Return the width of the nested group norm in each layer of ``kind``."""
        norms = [
            (layer, self._inner(layer, "group_normalization", 0)) for layer in self.of_kind(kind)
        ]
        return [self._checked_shape(x, f"{n}/gamma", f"{n}/beta", 1)[0] for x, n in norms]

    def latent(self) -> tuple[int, ...]:
        """Return the latent's size (*cells), from the label encoder's last layer."""
        shape = self._checked_shape("encoder_output", "gamma", "beta", self.dims + 1)
        if shape[-1] != 1:
            raise self.error(self.paths["encoder_output", "gamma"], f"has the shape {shape}")
        return shape[:-1]

    def take(self, layer: str, weight: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a weight that must have ``shape``, and mark it as used."""
        actual = self.shape(layer, weight)
        if actual != shape:
            raise self.error(
                self.paths[layer, weight], f"has the shape {actual} instead of {shape}"
            )
        return self._layers[layer].pop(weight)

    def take_inner(
        self, layer: str, kind: str, index: int, weight: str, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Return a weight of the nested layer number ``index`` of ``kind``."""
        return self.take(layer, f"{self._inner(layer, kind, index)}/{weight}", shape)

    def next_of(self, kind: str) -> str:
        """Return the next unused layer of ``kind`` in order of creation."""
        if not self._kinds.get(kind):
            raise self.error(f"{kind}/kernel:0", "or another layer of this type is missing")
        return self._kinds[kind].pop(0)

    def check_all_used(self) -> None:
        """Raise LDSegError if a tensor was not used."""
        for layer, weights in self._layers.items():
            for weight in weights:
                raise self.error(self.paths[layer, weight], "is unexpected")

    def _checked_shape(self, layer: str, weight: str, other: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a weight, which must have ``axes`` axes and end like that of ``other``."""
        shape, end = self.shape(layer, weight), self.shape(layer, other)
        if len(shape) != axes or not all(shape) or not end or shape[-len(end) :] != end:
            raise self.error(self.paths[layer, weight], f"has the shape {shape}")
        return shape

    def _inner(self, layer: str, kind: str, index: int) -> str:
        """Return the name of the nested layer number ``index`` of ``kind``."""
        names = self._inner_names.setdefault(
            layer,
            sorted({k.rpartition("/")[0] for k in self._layers[layer] if "/" in k}, key=_number),
        )
        fitting = [n for n in names if _kind(n) == kind]
        if index >= len(fitting):
            raise self.error(f"{layer}/{kind}", "is missing")
        return fitting[index]

    def _check_outputs(self) -> None:
        """Raise LDSegError if the output layer is not that of the expected network."""
        self._inner_names: dict[str, list[str]] = {}
        expected = OUTPUTS.get(self.part)
        for output in OUTPUTS.values():
            if output != expected and output in self._layers:
                raise self.error(output, "is unexpected")
        if expected and expected not in self._layers:
            raise self.error(expected, "is missing")


def assign(layers: Layers, network: nn.Module, prefix: str, weights: dict[str, Tensor]) -> None:
    """Add the tensors of ``network`` (on the meta device) to ``weights``.

    Raises LDSegError if a shape is wrong or a tensor is left over.
    """
    dims = layers.dims
    output = OUTPUTS.get(layers.part)
    modules = list(_in_creation_order(network, prefix))
    for name, module in modules:
        if isinstance(module, SelfAttention):
            kind = (
                "attention_block"
                if isinstance(module, NormedSkipAttention)
                else "multi_head_attention_block"
            )
            _attention(layers, layers.next_of(kind), module, name, weights)
            continue
        if isinstance(module, nn.LayerNorm) or (output and (name, module) == modules[-1]):
            kind = output or ""
        elif isinstance(module, BatchNorm):
            kind = "batch_normalization"
        elif isinstance(module, GroupNorm):
            kind = "group_normalization"
        elif isinstance(module, nn.Linear):
            kind = "dense"
        else:
            kind = f"conv{dims}d"
            if isinstance(module, nn.ConvTranspose2d):
                kind += "_transpose"
        layer = layers.next_of(kind)
        for own, value in module.state_dict().items():
            weights[f"{name}.{own}"] = _take_weight(layers, layer, own, value, module)
    layers.check_all_used()


def _take_weight(layers: Layers, layer: str, own: str, value: Tensor, module: nn.Module) -> Tensor:
    """Return the torch weight called ``own``, shaped like ``value``, of ``module``."""
    norm = isinstance(module, (BatchNorm, GroupNorm, nn.LayerNorm))
    weight = NAMES[own] if norm else {"weight": "kernel", "bias": "bias"}[own]
    if isinstance(module, nn.LayerNorm):
        array = layers.take(layer, weight, (*value.shape[1:], *value.shape[:1]))
        return torch.from_numpy(np.moveaxis(array, -1, 0).copy())
    array = layers.take(layer, weight, _keras_shape(tuple(value.shape)))
    if own == "running_var" and (array < 0).any():
        raise layers.error(layers.paths[layer, weight], "has negative values")
    return _to_torch(array)


def _attention(
    layers: Layers, layer: str, module: SelfAttention, name: str, weights: dict[str, Tensor]
) -> None:
    """Add the weights of an attention block to ``weights``."""
    units = module.out.in_features
    for own, weight in (("weight", "gamma"), ("bias", "beta")):
        array = layers.take_inner(layer, "group_normalization", 0, weight, (units,))
        weights[f"{name}.norm.{own}"] = _to_torch(array)
    for own, weight, shape in (("weight", "kernel", (units, units)), ("bias", "bias", (units,))):
        parts = [_to_torch(layers.take_inner(layer, "dense", i, weight, shape)) for i in range(4)]
        weights[f"{name}.qkv.{own}"] = torch.cat(parts[:3])
        weights[f"{name}.out.{own}"] = parts[3]


def _in_creation_order(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer with weights); the order within a type is that of the authors' code."""
    if (
        isinstance(module, SelfAttention)
        or next(module.parameters(recurse=False), None) is not None
    ):
        yield prefix.removesuffix("."), module
        return
    children = list(module.named_children())
    if isinstance(module, ResidualBlock):
        children.sort(key=lambda child: child[0] != "shortcut")
    for name, child in children:
        yield from _in_creation_order(child, f"{prefix}{name}.")


def _keras_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the Keras shape of a torch weight (outputs, inputs, *space)."""
    return (*shape[2:], *shape[1::-1]) if len(shape) > 1 else shape


def _to_torch(array: np.ndarray) -> Tensor:
    """Return (*space, inputs, outputs) as (outputs, inputs, *space); the same for transposed kernels."""
    axes = range(array.ndim)
    moved = array.transpose(*axes[-1:-3:-1], *axes[:-2]) if array.ndim > 1 else array
    return torch.from_numpy(np.array(moved, dtype=np.float32, order="C"))


def _kind(layer: str) -> str:
    return re.sub(r"_\d+$", "", layer)


def _number(layer: str) -> int:
    digits = re.search(r"_(\d{1,18})$", layer)
    return int(digits[1]) if digits else -1
