"""MobileNet V3 small, which transformers does not have.

Figures are those of Table 2 of "Searching for MobileNetV3" (Howard et al., 2019,
arXiv:1905.02244), with torchvision's reading of what it leaves open: squeezed channels
are a quarter of the expanded ones, rounded to a multiple of 8, and batch norm's epsilon
is 1e-3.
"""

from torch import Tensor, nn

# Kernel, expanded channels, output channels, squeeze and excite, hard swish, stride.
Row = tuple[int, int, int, bool, bool, int]
SMALL_TABLE: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_EPSILON = 1e-3


class SqueezeExcite(nn.Module):
    """Weighs channels by their means over the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, channels, height, width), weighed."""
        weights: Tensor = self.weigh(x)
        return x * weights


class Bottleneck(nn.Module):
    """Expand, convolve each channel, excite, project; added to the input where shapes agree."""

    def __init__(self, channels: int, row: Row) -> None:
        super().__init__()
        kernel, expanded, outputs, excite, swish, stride = row
        self.residual = stride == 1 and channels == outputs
        expand = [] if expanded == channels else [convolve(channels, expanded, 1, swish=swish)]
        self.layers = nn.Sequential(
            *expand,
            convolve(expanded, expanded, kernel, stride, groups=expanded, swish=swish),
            SqueezeExcite(expanded) if excite else nn.Identity(),
            nn.Conv2d(expanded, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=_EPSILON),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, channels, height, width)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """MobileNet V3 small.

    Args:
        table: the bottlenecks.
        hidden: channels of the classifier's hidden layer.
        classes: number of classes.
    """

    def __init__(self, table: tuple[Row, ...], hidden: int, classes: int) -> None:
        super().__init__()
        inputs = [16, *(row[2] for row in table)]
        self.features = nn.Sequential(
            convolve(3, 16, 3, 2, swish=True),
            *(Bottleneck(i, row) for i, row in zip(inputs, table, strict=False)),
            convolve(inputs[-1], 6 * inputs[-1], 1, swish=True),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(
            nn.Linear(6 * inputs[-1], hidden), nn.Hardswish(), nn.Linear(hidden, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, 3, height, width) to logits (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def convolve(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, swish: bool
) -> nn.Sequential:
    """A convolution with batch norm and activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_EPSILON),
        nn.Hardswish() if swish else nn.ReLU(),
    )
