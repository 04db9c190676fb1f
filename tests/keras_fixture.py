"""Write small ``.hdf5`` files in the layout of the authors' code, from a list of their layers."""

from itertools import count, pairwise

import h5py
import numpy as np

SMALL = {"label": (2, 4, 4, 4, 2), "image": (4, 8, 8, 8, 8), "denoiser": (4, 8, 8)}
FILES = ("labelEncoder", "labelDecoder", "imageEncoder", "denoiser")
MOMENTS = ("moving_mean", "moving_variance")


class Recorder:
    """The layers of one network in order of creation: (type, {weight: shape})."""

    def __init__(self, dims):
        self.dims, self.layers = dims, []

    def add(self, kind, **shapes):
        self.layers.append((kind, shapes))

    def conv(self, kernel, inputs, outputs, kind="", groups=1):
        shape = (*(kernel,) * self.dims, inputs // groups, outputs)
        self.add(kind or f"conv{self.dims}d", kernel=shape, bias=(outputs,))

    def dense(self, inputs, outputs):
        self.add("dense", kernel=(inputs, outputs), bias=(outputs,))

    def norm(self, width, kind="group_normalization"):
        self.add(kind, gamma=(width,), beta=(width,))

    def batch_norm(self, width, kind="batch_normalization"):
        self.add(kind, gamma=(width,), beta=(width,), **dict.fromkeys(MOMENTS, (width,)))

    def attention(self, units, kind="attention_block"):
        self.layers.append((kind, units))

    def conv_block(self, inputs, outputs):
        for kernel, width in ((3, inputs), (3, outputs), (1, inputs)):
            self.conv(kernel, width, outputs)
            self.batch_norm(outputs)

    def residual(self, inputs, outputs, features):
        if inputs != outputs:
            self.conv(1, inputs, outputs)
        self.dense(features, outputs)
        for width in (inputs, outputs):
            self.norm(width)
            self.conv(3, width, outputs)


def layers_of(dims, channels, classes, latent, widths=SMALL):
    """Return file stem to its layers in order of creation."""
    label, image = widths["label"], widths["image"]
    parts = {stem: Recorder(dims) for stem in FILES}
    encoder, decoder, embedder, denoiser = parts.values()
    for i, (inputs, outputs) in enumerate(pairwise((1, *label))):
        if i and dims == 3:
            encoder.conv(3, inputs, inputs)
        encoder.conv_block(inputs, outputs)
    encoder.conv(dims - 1, label[-1], 1)
    encoder.add("encoder_output", gamma=(*latent, 1), beta=(*latent, 1))
    for inputs, outputs in pairwise((1, *label[:0:-1])):
        if dims == 2:
            decoder.add("conv2d_transpose", kernel=(3, 3, outputs, inputs), bias=(outputs,))
        else:
            decoder.conv(3, inputs, outputs)
        decoder.conv_block(outputs, outputs)
    decoder.conv(1, label[1], classes)
    decoder.batch_norm(classes)
    embedder.conv(3, channels, image[0])
    for i, (inputs, outputs) in enumerate(pairwise(image)):
        embedder.conv(1, inputs, outputs)
        embedder.conv(3, inputs, outputs, groups=1 if dims == 2 else 4)
        embedder.conv(3, outputs, outputs, groups=1 if dims == 2 else 4)
        if dims == 2:
            embedder.conv(3, outputs, outputs)
        embedder.norm(outputs)
        if dims == 2 and i >= 2:
            embedder.attention(outputs, "multi_head_attention_block")
    embedder.conv(1 if dims == 2 else 3, image[-1], 1)
    if dims == 2:
        embedder.attention(1, "multi_head_attention_block")
    embedder.batch_norm(1, "embedding_output")
    _denoiser(denoiser, widths["denoiser"])
    return {stem: part.layers for stem, part in parts.items()}


def _denoiser(part, widths):
    every_skip = part.dims == 2
    features, width = 4 * widths[0], widths[0]
    part.conv(3, 2, width)
    part.dense(features, features)
    part.dense(features, features)
    skips = [width] * every_skip
    for level, outputs in enumerate(widths):
        for _ in range(2):
            part.residual(width, outputs, features)
            if level:
                part.attention(outputs)
            width = outputs
            skips.append(width)
        if level < 2:
            part.conv(3, width, width)
            skips += [width] * every_skip
    part.residual(width, width, features)
    part.attention(width)
    part.residual(width, width, features)
    for level in (2, 1, 0):
        for _ in range(2 + every_skip):
            part.residual(width + skips.pop(), widths[level], features)
            width = widths[level]
            if level:
                part.attention(width)
        if level:
            part.conv(3, width, width)
    part.norm(width)
    part.conv(3, width, 1, "denoiser_output")


def named_tensors(layers, offset=0, gap=1, seed=0):
    """Return {layer: {weight path: array}}; the k-th layer of a type has the number offset + k * gap.

    Values depend on the order of creation, not on the names.
    """
    rng = np.random.default_rng(seed)
    numbers: dict[str, count] = {}

    def name(kind):
        if kind.endswith("_output"):
            return kind
        number = next(numbers.setdefault(kind, count(offset, gap)))
        return f"{kind}_{number}" if number else kind

    def values(shapes):
        made = {}
        for weight, shape in shapes.items():
            value = rng.normal(0, 0.2, shape).astype("f4")
            made[f"{weight}:0"] = abs(value) + 0.5 if weight == "moving_variance" else value
        return made

    tensors = {}
    for kind, content in layers:
        layer = name(kind)
        if isinstance(content, dict):
            tensors[layer] = {f"{layer}/{w}": v for w, v in values(content).items()}
            continue
        inner = {"gamma": (content,), "beta": (content,)}
        norm = name("group_normalization")
        tensors[layer] = {f"{layer}/{norm}/{w}": v for w, v in values(inner).items()}
        for _ in range(4):
            dense = name("dense")
            inner = {"kernel": (content, content), "bias": (content,)}
            tensors[layer] |= {f"{layer}/{dense}/{w}": v for w, v in values(inner).items()}
    return tensors


def write_keras(folder, dims=2, channels=3, classes=2, latent=None, offset=0, gap=1):
    """Write the four files into ``folder``; layer_names lists shortcuts after the main path."""
    latent = latent or (4,) * dims
    for i, (stem, layers) in enumerate(layers_of(dims, channels, classes, latent).items()):
        tensors = named_tensors(layers, offset, gap, seed=i)
        with h5py.File(folder / f"{stem}{'3D' * (dims == 3)}.hdf5", "w") as file:
            # Not in order of creation, as Keras sorts the layers by depth.
            names = sorted(tensors, key=lambda layer: (len(layer), layer[::-1]))
            file.attrs["layer_names"] = [*names, "add", "dropout_1"]
            file.attrs["backend"] = "tensorflow"
            file.create_group("add")
            for layer in names:
                group = file.create_group(layer)
                group.attrs["weight_names"] = list(tensors[layer])
                for path, value in tensors[layer].items():
                    group.create_dataset(path, data=value)
    return folder
