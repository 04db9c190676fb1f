"""Initialising a model with the weights of another one that may have other classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.base import SegmentationModel
from .file import Checkpoint, build_model
from .metadata import Metadata


def inherit(model: SegmentationModel, metadata: Metadata, start: Checkpoint) -> None:
    """Copy the weights of ``start`` into ``model``, whose metadata is ``metadata``.

    The architectures differ at most in the number of classes. Weights of one class (in the first layer
    of the label encoder and the last of the decoder) are copied to the class of the same name; those of
    a new class are not changed. The last layers of a DiffDGSS interpreter are not copied if the classes differ.
    """
    old = [c.name for c in start.metadata.classes]
    new = [c.name for c in metadata.classes]
    old_weights = start.model.state_dict()
    if old == new:
        model.load_state_dict(old_weights)
        return
    pairs = [(new.index(name), index) for index, name in enumerate(old) if name in new]
    # The background is the first class, whatever its name.
    pairs = [(0, 0), *(pair for pair in pairs if 0 not in pair)]
    axes = _class_axes(metadata)
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            axis = axes[name]
            if axis is None:
                weight.copy_(old_weights[name])
            elif metadata.networks != "diffdgss":  # where a class has channels in several places
                each = weight.shape[axis] // len(new)
                for target, source in pairs:
                    part = old_weights[name].narrow(axis, source * each, each)
                    weight.narrow(axis, target * each, each).copy_(part)


def _class_axes(metadata: Metadata) -> dict[str, int | None]:
    """Return for each tensor of the model the axis that is as long as there are classes, or None."""
    count = metadata.architecture.classes

    def tensors(classes: int) -> dict[str, Tensor]:
        fields = metadata.model_dump()
        fields["architecture"] |= {"classes": classes}
        fields["classes"] = [{"name": str(i), "colour": "#000000"} for i in range(classes)]
        fields["calibration"] = None
        if fields["diffdgss"] is not None:
            fields["diffdgss"] |= {"classes": classes}
        with torch.device("meta"):
            return build_model(Metadata.model_validate(fields)).state_dict()

    one_more = tensors(count + 1)
    axes: dict[str, int | None] = {}
    for name, tensor in tensors(count).items():
        sizes = zip(tensor.shape, one_more[name].shape, strict=True)
        axes[name] = next((axis for axis, (a, b) in enumerate(sizes) if a != b), None)
    return axes
