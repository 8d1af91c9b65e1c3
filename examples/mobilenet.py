"""A small MobileNet V3: depthwise convolutions, squeeze and excitation, hard swish, ReLU6."""

import torch
from torch import Tensor, nn


class Excitation(nn.Module):
    """Weighs channels by what the whole image holds of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.relu(self.squeeze(self.pool(x)))
        return x * nn.functional.hardsigmoid(self.excite(weights))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, excitation and projection."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: type[nn.Module], excite: bool
    ) -> None:
        super().__init__()
        hidden = inputs * 4
        self.residual = inputs == outputs and stride == 1
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            activation(),
            nn.Conv2d(hidden, hidden, 5, stride, padding=2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            activation(),
            Excitation(hidden) if excite else nn.Identity(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """The stem, four inverted residuals and a classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
            InvertedResidual(16, 16, 1, nn.ReLU6, excite=False),
            InvertedResidual(16, 24, 2, nn.ReLU6, excite=True),
            InvertedResidual(24, 24, 1, nn.Hardswish, excite=True),
            InvertedResidual(24, 40, 2, nn.Hardswish, excite=True),
        )
        self.classifier = nn.Sequential(
            nn.Linear(40, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    module = MobileNet()
    # Statistics of random images, or batch norm would do nothing.
    with torch.no_grad():
        module.train()(torch.randn(16, 3, 48, 48))
    return module.to(dtype).eval(), (torch.randn(2, 3, 48, 48, dtype=dtype),), {}, None
