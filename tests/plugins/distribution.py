"""A distribution that brings entries of its own, as pip would install it."""

from pathlib import Path

# Ops, their kernels, and what a package declares of them.
OPS = """\
import torch
from torch import Tensor


@torch.library.custom_op("mylib::softsign", mutates_args=())
def softsign(x: Tensor, scale: float = 1.0) -> Tensor:
    return x / (1 + x.abs()) * scale


@softsign.register_fake
def _(x, scale=1.0):
    return torch.empty_like(x)


@torch.library.custom_op("mylib::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x * x * x


@cube.register_fake
def _(x):
    return torch.empty_like(x)


@torch.library.custom_op("mylib::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    return x.clone()


@opaque.register_fake
def _(x):
    return torch.empty_like(x)


class Gate(torch.nn.Module):
    def forward(self, x):
        return torch.ops.mylib.softsign(x, 0.5) + torch.ops.mylib.cube(x)


def get_model():
    return Gate(), (torch.linspace(-2, 3, 12).reshape(3, 4),)
"""

ENTRIES = '''\
import mylib.ops
import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype
from mlx_coverage.registry.samples import Number, draw, tensor


def declare(family):
    @family.op(
        torch.ops.mylib.softsign.default,
        rules=[Dtype("x", FLOAT)],
        samples=draw(x=tensor("*S"), scale=Number(0.1, 4)),
    )
    def softsign(x, scale=1.0):
        """softsign(Tensor x, float scale=1.) -> Tensor"""
        return x / (1 + mx.abs(x)) * scale

    @family.decomposition(torch.ops.mylib.cube.default)
    def cube(x):
        return x * x * x
'''


def install(folder: Path, name: str, files: dict[str, str], entry_point: str) -> None:
    """Lay out a distribution in a folder that is then put on `sys.path`.

    Args:
        folder: site-packages, as it were.
        name: of the distribution.
        files: text by path.
        entry_point: `name = module:object` in the group of plug-ins.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[mlx_coverage.registry]\n{entry_point}\n")
