"""Where a program's time goes: by delegate and CPU kernel, and inside delegates by op.

ExecuTorch's own tracer (ETDump) times everything, and its Inspector reads the file. Delegates and
kernels are timed as they run; the ops inside a delegate in further calls, in which each step of it
is evaluated where it stands, which takes longer than the whole does.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.fx import Node

from mlx_coverage import runtime
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.program_file import Method
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.analyze.timings import Part, Profile, Step
from mlx_coverage.lowering.plan import PartitionPlan
from mlx_coverage.registry.call import name_node

_WARM_UP = 3
_KERNEL, _DELEGATE, _METHOD = "native_call_", "DELEGATE_CALL", "Method::execute"


# Owner of each step of each delegate, by the instruction that calls the delegate.
Owners = Mapping[int, Mapping[str, Node]]


def find_owners(program: Any, plan: PartitionPlan, method: str) -> Owners:
    """The node that each step of a lowered program is of, by ExecuTorch's debug handles.

    Args:
        program: an `ExecutorchProgramManager`.
        plan: of the method, with its graph.
        method: by name.
    """
    nodes = {node.meta.get("debug_handle"): node for node in plan.placements}
    found: dict[int, dict[str, Node]] = {}
    for instruction, delegate in (program.delegate_map.get(method) or {}).items():
        handles = delegate["delegate_map"].items()
        found[instruction] = {
            name: nodes[handle[0]] for name, handle in handles if handle[0] in nodes
        }
    return found


def profile_program(
    path: Path, method: Method, inputs: Sequence[Any], repeat: int, owners: Owners | None = None
) -> Profile:
    """Trace calls of a method.

    Args:
        path: a program file.
        method: of it.
        inputs: of the calls.
        repeat: how many calls are traced, as they run and once more step by step.
        owners: the nodes of the steps, where they are known.
    """
    runtime.load()
    whole = _trace(path, method, inputs, repeat, steps=False)
    stepwise = _trace(path, method, inputs, repeat, steps=True)
    delegates = [e.instruction for e in whole if e.name == _DELEGATE]
    total = next((event.seconds for event in whole if event.name == _METHOD), 0.0)
    return Profile(
        method.name,
        repeat,
        total,
        tuple(_list_parts(whole, delegates)),
        tuple(_list_steps(stepwise, delegates, owners or {})),
    )


@dataclass(frozen=True)
class _Event:
    name: str
    instruction: int
    delegated: bool
    seconds: float


def _trace(
    path: Path, method: Method, inputs: Sequence[Any], repeat: int, steps: bool
) -> list[_Event]:
    from executorch.devtools import Inspector
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

    module = _load_for_executorch(str(path), enable_etdump=True)
    runtime.set_options(profile=steps)
    try:
        for _ in range(_WARM_UP + repeat):
            module.run_method(method.name, tuple(inputs))
    finally:
        runtime.set_options(profile=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.etdump"
        module.write_etdump_result_to_file(str(file))
        blocks = Inspector(etdump_path=str(file)).event_blocks
    return [
        _Event(
            event.name,
            event._instruction_id,
            bool(event.is_delegated_op),
            statistics.median(event.perf_data.raw[_WARM_UP:]) / 1000,
        )
        for block in blocks if block.name == "Execute"
        for event in block.events if event.perf_data
    ]  # fmt: skip


def _list_parts(events: Sequence[_Event], delegates: Sequence[int]) -> Iterator[Part]:
    for event in events:
        if event.name == _DELEGATE:
            yield Part(f"delegate {delegates.index(event.instruction)}", "mlx", event.seconds)
        elif event.name.startswith(_KERNEL):
            yield Part(event.name.removeprefix(_KERNEL), "cpu", event.seconds)


def _list_steps(
    events: Sequence[_Event], delegates: Sequence[int], owners: Owners
) -> Iterator[Step]:
    groups: dict[tuple[int, Any], list[_Event]] = {}
    for event in events:
        number = event.name.partition(" ")[0]
        if event.delegated and number.isdecimal():
            node = owners.get(event.instruction, {}).get(event.name)
            groups.setdefault((event.instruction, node or event.name), []).append(event)
    steps = [
        _describe(delegates.index(instruction), owner, members)
        for (instruction, owner), members in groups.items()
    ]
    yield from sorted(steps, key=lambda step: -step.seconds)


def _describe(delegate: int, owner: Any, events: Sequence[_Event]) -> Step:
    functions = tuple(event.name.partition(" ")[2] for event in events)
    seconds = sum(event.seconds for event in events)
    if not isinstance(owner, Node):
        return Step(delegate, functions[0], functions, Source(), "", seconds)
    from mlx_coverage.analyze.hierarchy import list_modules

    modules = list_modules(owner)
    module = modules[-1][0] if modules else ""
    return Step(delegate, name_node(owner), functions, locate_node(owner), module, seconds)
