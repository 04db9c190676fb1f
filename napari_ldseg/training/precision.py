"""Training in bfloat16 on a CPU without the convolutions that oneDNN gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {
    *(torch.conv1d, torch.conv2d, torch.conv3d),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
}
SMALL = 2


class SmallConvolutionsInFloat32(TorchFunctionMode):
    """While this context is entered, convolutions of small inputs on the CPU are in float32 despite autocast.

    With an input of one or two voxels along any axis, the bfloat16 kernels of oneDNN 3 for AVX-512 read
    memory that was never written: gradients of the weights, and in 3D results, become NaN or arbitrary
    finite numbers, depending on what the memory held. Such inputs take no time worth saving.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, a small convolution in float32."""
        if func not in CONVOLUTIONS or min(args[0].shape[2:]) > SMALL:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(
                *(_float32(value) for value in args),
                **{name: _float32(value) for name, value in (kwargs or {}).items()},
            )


def correct_convolutions(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context for networks on ``device``: nothing, unless it is a CPU with autocast on."""
    wrong = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return SmallConvolutionsInFloat32() if wrong else nullcontext()


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
