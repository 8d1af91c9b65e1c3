"""A small ResNet: batch norm, residual connections, strided and pooled stages."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is projected when the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """The stem, stages of two blocks each, global pooling and a classifier."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64), classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for number, outputs in enumerate(widths):
            blocks += [Block(inputs, outputs, 2 if number else 1), Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, image: Tensor) -> Tensor:
        features = self.pool(self.blocks(self.stem(image)))
        return self.classifier(features.flatten(1))


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    module = ResNet()
    # Statistics of random images, or batch norm would do nothing.
    with torch.no_grad():
        module.train()(torch.randn(16, 3, 64, 64))
    return module.to(dtype).eval(), (torch.randn(2, 3, 64, 64, dtype=dtype),), {}, None
