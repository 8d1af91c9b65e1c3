"""A distribution that brings entries of its own, as pip would install it."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "custom-ops.md"

# The package that the documentation shows: its ops, its entries, and a test of one.
DOCUMENTED_OPS, ENTRIES, TEST = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)

# One op that nothing is declared of, and one with an entry that is wrong.
OPS = f"""\
{DOCUMENTED_OPS}

@torch.library.custom_op("mylib::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    return x.clone()


@torch.library.custom_op("mylib::halved", mutates_args=())
def halved(x: Tensor) -> Tensor:
    return x / 2


opaque.register_fake(torch.empty_like)
halved.register_fake(torch.empty_like)
"""

WRONG = """\
import mylib.ops
import torch

from mlx_coverage.registry.spec import Family

family = Family("wrong")
family.add(torch.ops.mylib.halved.default, lambda x: x / 3)
"""


def install(folder: Path, name: str, files: dict[str, str], entry_points: str) -> None:
    """Lay out a distribution in a folder that is then put on `sys.path`.

    Args:
        folder: site-packages, as it were.
        name: of the distribution.
        files: text by path.
        entry_points: lines of `name = module:object`, in the group of plug-ins.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[mlx_coverage.registry]\n{entry_points}\n")
