"""The example models, and what lowering each must give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from examples import bert, fallback, gpt2, llama, lstm, mlp, mobilenet, resnet, unet, vit
from tests.e2e.lowering import Method

DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Model:
    """A model of `examples/` with one method.

    Attributes:
        name: as in the file name.
        make: the example's factory, called with a dtype.
        delegates: how many partitions there must be.
        fallbacks: exactly the ops that stay with ExecuTorch, in graph order.
        sizes: further values of the dynamic size to run at.
        axis: the axis of the first input that is dynamic.
    """

    name: str
    make: Callable[[torch.dtype], Method]
    delegates: int = 1
    fallbacks: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    axis: int = 0

    def inputs(self, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The example inputs, then inputs of each other size."""
        first, *rest = args
        found = [args]
        for size in self.sizes:
            shape = list(first.shape)
            shape[self.axis] = size
            floating = first.dtype.is_floating_point
            draw = torch.randn(shape) if floating else torch.randint(0, 512, shape)
            found.append((draw.to(first.dtype), *rest))
        return found


MODELS = (
    Model("mlp", mlp.model, sizes=(1, 3, 64)),
    Model("resnet", resnet.model),
    Model("mobilenet", mobilenet.model),
    Model("unet", unet.model),
    Model("vit", vit.model),
    Model("bert", bert.model),
    Model("gpt2", gpt2.model, sizes=(2, 5, 64), axis=1),
    Model("llama", llama.model),
    Model("llama_without_cache", llama.without_cache, sizes=(2, 5, 64), axis=1),
    Model("lstm", lstm.model),
    Model("fallback", fallback.model, delegates=2, fallbacks=("aten.nonzero.default",)),
)
