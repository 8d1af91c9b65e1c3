"""What a preset is: published numbers, a small variant, and how to build either."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

# Module, example arguments, keywords and dynamic shapes, as `check` takes a method.
Method = tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]
Methods = dict[str, Method]
Numbers = Mapping[str, Any]

_NOISE = 0.02


@dataclass(frozen=True)
class Published:
    """Numbers of a configuration and the place that they come from.

    Attributes:
        source: model and file, or the class whose defaults are meant.
        numbers: arguments of the configuration class; what is not named here is that
            class's default.
    """

    source: str
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """One model of the zoo.

    Attributes:
        name: as in `zoo:NAME`.
        family: the row of reports/families.md.
        published: where each number of the full size comes from.
        small: what the small variant changes: few layers, small widths, the same architecture.
        build: makes the methods from a scale and the merged numbers.
        packages: what `build` imports beside torch.
    """

    name: str
    family: str
    published: tuple[Published, ...]
    small: Numbers
    build: Callable[["Scale", dict[str, Any]], Methods]
    packages: tuple[str, ...] = ("transformers",)

    def find_missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    def make(self, small: bool) -> Methods:
        """The methods: without weights at full size, with random ones when small."""
        numbers: dict[str, Any] = {}
        for part in (*self.published, *([Published("small", self.small)] if small else [])):
            numbers = merge(numbers, part.numbers)
        return self.build(Scale(small), numbers)


class Scale:
    """Builds models and inputs: on the meta device at full size, on the CPU when small."""

    def __init__(self, small: bool) -> None:
        self.small = small
        self._generator = torch.Generator().manual_seed(0)

    def pick(self, full: int, small: int) -> int:
        """A size of the inputs, for example a sequence length."""
        return small if self.small else full

    def instantiate(self, kind: Any, config: Any, **options: Any) -> Any:
        """A model of transformers, in evaluation mode.

        Left alone, transformers takes `scaled_dot_product_attention` wherever a model has it.
        """
        return self.construct(lambda: kind._from_config(config, dtype=torch.float32, **options))

    def construct(self, make: Callable[[], nn.Module]) -> Any:
        """What `make` gives, in evaluation mode."""
        if not self.small:
            with torch.device("meta"):
                # Some models call `torch.Tensor(size)`, which knows no default device.
                return make().eval().to("meta")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = make().eval()
            _perturb(module)
        return module

    def tokens(self, *shape: int, below: int) -> Tensor:
        """Random token ids of `shape`, from 0 up to `below`."""
        if not self.small:
            return torch.zeros(shape, dtype=torch.int64, device="meta")
        return torch.randint(0, below, shape, generator=self._generator)

    def floats(self, *shape: int) -> Tensor:
        """Normally distributed float32 values of `shape`."""
        if not self.small:
            return torch.empty(shape, device="meta")
        return torch.randn(shape, generator=self._generator)


class Selected(nn.Module):
    """A model as a function of tensors: named inputs, named outputs, the rest fixed.

    Args:
        model: the model.
        inputs: keyword names of the positional arguments, in order.
        outputs: fields of the model's result; ignored when that is a tensor.
        method: the method of the model to call.
        fixed: further keywords of the call.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...] = (),
        method: str = "forward",
        **fixed: Any,
    ) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.outputs = outputs
        self.method = method
        self.fixed = fixed

    def forward(self, *args: Tensor) -> Any:
        """The outputs, as a tuple unless there is one."""
        named = dict(zip(self.inputs, args, strict=True))
        call = self.model if self.method == "forward" else getattr(self.model, self.method)
        result = call(**named, **self.fixed)
        if isinstance(result, Tensor):
            return result
        found = tuple(getattr(result, name) for name in self.outputs)
        return found[0] if len(found) == 1 else found


class Seq2SeqDecoder(nn.Module):
    """The decoder of an encoder-decoder model of transformers, with the encoder's result given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, encoded: Tensor, tokens: Tensor) -> Any:
        """Logits (batch, target length, vocabulary) for `encoded` (batch, source length, width)."""
        result = self.model(
            encoder_outputs=(encoded,), decoder_input_ids=tokens, use_cache=False, return_dict=True
        )
        return result.logits


def merge(old: Numbers, new: Numbers) -> dict[str, Any]:
    """`old` with the numbers of `new`, configurations inside configurations likewise.

    Examples:
        >>> merge({"text": {"layers": 2, "heads": 4}}, {"text": {"layers": 1}})
        {'text': {'layers': 1, 'heads': 4}}
    """
    merged = dict(old)
    for name, value in new.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if nested else value
    return merged


@torch.no_grad()
def _perturb(module: nn.Module) -> None:
    # Freshly initialised scales, shifts and statistics are ones and zeros, which hide errors.
    for parameter in module.parameters():
        parameter.add_(_NOISE * torch.randn_like(parameter))
    for part in module.modules():
        mean, var = getattr(part, "running_mean", None), getattr(part, "running_var", None)
        if isinstance(mean, Tensor) and isinstance(var, Tensor):
            mean.normal_(std=0.1)
            var.uniform_(0.5, 1.5)
