"""The paths of a benchmark, each as something that loads and is then called again and again."""

import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.load import Exportable, open_model

Call = Callable[[], Any]


@dataclass(frozen=True)
class Opened:
    """A path that is ready to be loaded.

    Attributes:
        load: gives the call; what it does counts into the time to the first result.
        resident: bytes of the process after its imports, before the model.
        read: outputs of a call as a list of tensors on the CPU.
    """

    load: Callable[[], Call]
    resident: int
    read: Callable[[Any], list[Any]]

    def measure_growth(self) -> int:
        """By how many bytes resident memory has risen at its highest."""
        return max(_read_peak() - self.resident, 0)


@contextmanager
def open_route(
    key: str, model: str, method: str, folder: Path, inputs: Sequence[Any]
) -> Iterator[Opened]:
    """A path, in this process alone: options of runtimes are set for it.

    Args:
        key: of `benchmark.ROUTES`.
        model: as it was named.
        method: that is called.
        folder: with the lowered programs.
        inputs: flat.
    """
    with ExitStack() as stack:
        if key in ("torch", "torch-mps", "torch-compile"):
            resident = _read_resident()
            methods = stack.enter_context(open_model(model))
            yield _open_torch(key, methods[method], inputs, resident)
        elif key == "mlx-lm":
            yield _open_mlx_lm(stack, model, method, inputs)
        else:
            yield _open_program(key, method, folder, inputs)


def _open_torch(key: str, given: Any, inputs: Sequence[Any], resident: int) -> Opened:
    if isinstance(given, Exportable):
        module, spec = given.module, pytree.tree_structure((given.args, given.kwargs))
    else:
        module, spec = given.module(), pytree.tree_structure(given.example_inputs)
    device = "mps" if key == "torch-mps" else "cpu"
    moved = [v.to(device) if isinstance(v, torch.Tensor) else v for v in inputs]
    args, kwargs = pytree.tree_unflatten(moved, spec)

    def load() -> Call:
        placed = module.to(device)
        function: Any = torch.compile(placed) if key == "torch-compile" else placed

        @torch.no_grad()
        def call() -> Any:
            outputs = function(*args, **kwargs)
            if device == "mps":
                torch.mps.synchronize()
            return outputs

        return call

    return Opened(load, resident, _read_torch)


def _open_program(key: str, method: str, folder: Path, inputs: Sequence[Any]) -> Opened:
    from executorch.runtime import Runtime

    from mlx_coverage import runtime
    from mlx_coverage.analyze.execution import Execution
    from mlx_coverage.analyze.program_file import choose_method, read_program

    ours = key.startswith("delegate")
    path = folder / ("delegate.pte" if ours else f"{key}.pte")
    known = choose_method(path, read_program(path), method)
    Runtime.get()
    runtime.load()
    if ours:
        runtime.set_options(compile=key == "delegate-compiled")

    def load() -> Call:
        execution = Execution(path, known)
        arranged = execution.arrange(inputs)
        return lambda: execution.call(arranged)

    return Opened(load, _read_resident(), _read_torch)


def _open_mlx_lm(stack: ExitStack, model: str, method: str, inputs: Sequence[Any]) -> Opened:
    """The same architecture and weights in mlx-lm, where it has the family.

    Raises:
        InputError: it has not, or the model takes more than ids of tokens.
    """
    from mlx_coverage.registry.mx import import_mlx

    mx = import_mlx()
    given = stack.enter_context(open_model(model))[method]
    module = given.module if isinstance(given, Exportable) else None
    source = _find_configured(module) if isinstance(module, nn.Module) else None
    tokens = [v for v in inputs if isinstance(v, torch.Tensor) and v.dim() == 2]
    if source is None or len(tokens) != 1 or tokens[0].is_floating_point():
        raise InputError("mlx-lm takes models of transformers that take ids of tokens alone")
    family = source.config.model_type
    try:
        package = import_module(f"mlx_lm.models.{family}")
    except ImportError as error:
        raise InputError(f"mlx-lm has no family {family}") from error
    resident = _read_resident()
    ids = mx.array(tokens[0].numpy())

    def load() -> Call:
        network = package.Model(package.ModelArgs.from_dict(source.config.to_dict()))
        weights = {name: mx.array(t.numpy()) for name, t in source.state_dict().items()}
        if hasattr(network, "sanitize"):
            weights = network.sanitize(weights)
        network.load_weights(list(weights.items()))

        def call() -> Any:
            logits = network(ids)
            mx.eval(logits)
            return logits

        return call

    return Opened(load, resident, lambda logits: [torch.tensor(logits.tolist())])


def _find_configured(module: nn.Module) -> Any:
    """The outermost model of transformers in a module."""
    parts = (part for part in module.modules() if hasattr(part, "config"))
    return next((part for part in parts if hasattr(part.config, "model_type")), None)


def _read_torch(outputs: Any) -> list[Any]:
    leaves = pytree.tree_leaves(outputs)
    return [v.detach().cpu().clone() if isinstance(v, torch.Tensor) else v for v in leaves]


def _read_resident() -> int:
    """Resident bytes now (Linux); their peak where that is not told."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return _read_peak()
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _read_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
