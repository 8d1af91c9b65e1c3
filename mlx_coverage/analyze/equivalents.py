"""Modules of torch that do not lower, each with an equivalent module that does.

They hold for inference. Whether one helps, and gives what the module gave, is tried each time.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlx_coverage.analyze.load import Exportable


class BilinearAsLinear(nn.Module):
    """`nn.Bilinear` as a linear layer of the outer products."""

    def __init__(self, old: nn.Bilinear) -> None:
        super().__init__()
        self.weight, self.bias = old.weight, old.bias

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """What `nn.Bilinear` gives, up to rounding."""
        products = (first.unsqueeze(-1) * second.unsqueeze(-2)).flatten(-2)
        return F.linear(products, self.weight.flatten(1), self.bias)


def cut_rows(old: nn.Embedding) -> nn.Embedding | None:
    """`nn.Embedding` whose rows are cut to `max_norm` once, not at each look-up."""
    if old.max_norm is None:
        return None
    rows = old.weight.detach().renorm(old.norm_type, 0, old.max_norm)
    new = nn.Embedding(old.num_embeddings, old.embedding_dim, old.padding_idx, device="meta")
    new.weight = nn.Parameter(rows, requires_grad=False)
    return new


# None stands for a module that is fine as it is.
Make = Callable[[Any], nn.Module | None]

EQUIVALENTS: Mapping[type[nn.Module], Make] = {
    nn.Bilinear: BilinearAsLinear,
    nn.Embedding: cut_rows,
}


@dataclass(frozen=True)
class Exchange:
    """Modules of a model, and what to have instead of them.

    Attributes:
        kind: their class.
        modules: by their paths.
    """

    kind: type[nn.Module]
    modules: Mapping[str, nn.Module]

    @property
    def title(self) -> str:
        """What to do, in one sentence."""
        (summary,) = (inspect.getdoc(EQUIVALENTS[self.kind]) or "").splitlines()[:1]
        return f"Replace {', '.join(self.modules) or 'the model'}: {summary}"

    @property
    def code(self) -> str:
        """The source of what makes the new module of the old one."""
        return inspect.getsource(EQUIVALENTS[self.kind]).rstrip()

    @contextmanager
    def apply(self, given: Exportable) -> Iterator[Exportable]:
        """The model with the new modules; the user's has its own again afterwards."""
        if "" in self.modules:
            yield replace(given, module=self.modules[""])
            return
        old = {path: given.module.get_submodule(path) for path in self.modules}
        try:
            for path, module in self.modules.items():
                _put(given.module, path, module)
            yield given
        finally:
            for path, module in old.items():
                _put(given.module, path, module)


def list_exchanges(model: nn.Module, paths: frozenset[str]) -> Iterator[Exchange]:
    """What could be exchanged, one class at a time.

    Args:
        model: left as it is.
        paths: of the modules in which something falls back.
    """
    for kind, make in EQUIVALENTS.items():
        found: dict[str, nn.Module] = {}
        for path, module in model.named_modules():
            if path not in paths or type(module) is not kind or module.training:
                continue
            with torch.no_grad():
                instead = make(module)
            if instead is not None:
                found[path] = instead.eval()
        if found:
            yield Exchange(kind, found)


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
