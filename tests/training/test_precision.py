"""Training in bfloat16 on a CPU: its gradients are those of float32."""

import pytest
import torch
from torch import nn

from napari_ldseg.training.precision import SmallConvolutionsInFloat32


def fill_free_memory_with_nan():
    """What was never written is NaN afterwards, most likely."""
    blocks = [torch.full((4096,), torch.nan) for _ in range(2000)]
    del blocks


@pytest.mark.parametrize(
    "convolution, size",
    [
        (nn.Conv2d(16, 16, 3, 2, 1), (1, 1)),
        (nn.Conv2d(32, 32, 3, 2, 1), (16, 1)),
        (nn.Conv3d(1, 32, 3, 1, 1), (1, 1, 4)),
        (nn.Conv3d(16, 16, 3, 2, 1), (8, 8, 1)),
        (nn.Conv3d(16, 16, 3, 1, 1), (2, 2, 5)),
        (nn.ConvTranspose2d(16, 16, 3, 2), (1, 1)),
    ],
)
def test_small_convolutions_are_those_of_float32(convolution, size):
    image = torch.randn(
        8, convolution.in_channels, *size, generator=torch.Generator().manual_seed(0)
    )
    results = []
    for lower in (False, True):
        convolution.zero_grad()
        fill_free_memory_with_nan()
        with SmallConvolutionsInFloat32(), torch.autocast("cpu", torch.bfloat16, enabled=lower):
            result = convolution(image)
        result.square().sum().backward()
        results.append((result, *(weight.grad.clone() for weight in convolution.parameters())))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_others_stay_in_bfloat16():
    with SmallConvolutionsInFloat32(), torch.autocast("cpu", torch.bfloat16):
        assert nn.Conv2d(1, 2, 3)(torch.zeros(1, 1, 3, 8)).dtype == torch.bfloat16
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.bfloat16
