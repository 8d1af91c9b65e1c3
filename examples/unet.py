"""A U-Net block: group norm, a skip connection and nearest upsampling."""

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two normalised convolutions beside a projected shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(8, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class UNet(nn.Module):
    """One step down, one step up, and the skip connection between them."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.entry = nn.Conv2d(4, channels, 3, padding=1)
        self.outer = Residual(channels, channels)
        self.down = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.inner = Residual(channels, 2 * channels)
        self.up = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.merge = Residual(2 * channels, channels)
        self.exit = nn.Conv2d(channels, 4, 1)

    def forward(self, latent: Tensor) -> Tensor:
        outer = self.outer(self.entry(latent))
        inner = self.inner(self.down(outer))
        up = self.up(nn.functional.interpolate(inner, scale_factor=2.0, mode="nearest"))
        return self.exit(self.merge(torch.cat([up, outer], dim=1)))


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    return UNet().to(dtype).eval(), (torch.randn(1, 4, 32, 32, dtype=dtype),), {}, None
