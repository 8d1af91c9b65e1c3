"""A written program against eager torch: which calls are made, in which order, and compared.

State is a sequence: methods that have any are called in turns, each after each, and eager torch
in the same order. Values and sizes beside the example show what the example hides.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from executorch.exir import ExecutorchProgramManager
from torch.export import ExportedProgram

from mlx_coverage.analyze.comparison import (
    TOLERANCES,
    CallError,
    compare,
    find_tolerance,
    find_tolerances,
    measure,
)
from mlx_coverage.analyze.eager import Call, Eager
from mlx_coverage.analyze.execution import Execution, load_methods, store
from mlx_coverage.analyze.failures import DifferenceError, InputError, condense
from mlx_coverage.analyze.load import Methods
from mlx_coverage.analyze.localization import attribute
from mlx_coverage.analyze.sampling import Sample, list_samples
from mlx_coverage.lowering.partitioner import MLXPartitioner

# The least number of calls of each method, where there is state.
_LEAST_CALLS = 5
# Seconds after which only the example is still tried, and at most how many methods meet in pairs.
_PATIENCE = 30.0
_MOST_METHODS = 8
# What a step of the inputs does to the result is multiplied; so many steps are drawn.
_SPREADS, _DRAWS = 4.0, 4
# By the tolerance of the lowest precision inside, the largest first.
_STEPS = (
    (TOLERANCES[torch.bfloat16], 2.0**-8),
    (TOLERANCES[torch.float16], 2.0**-11),
)


@dataclass
class Verified:
    """What was compared of a method, and how it went.

    Attributes:
        method: its name.
        calls: how many.
        tried: kinds of inputs, in a few words each.
        remarks: what could not be tried, and why.
        error: the largest difference, relative to the largest magnitude in an output.
        tolerance: the largest that was applied.
        shared: other methods, called in between.
    """

    method: str
    calls: int = 0
    tried: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    error: float = 0.0
    tolerance: float = 0.0
    shared: tuple[str, ...] = ()

    def list_tried(self) -> str:
        """The kinds of inputs, each once."""
        return "; ".join(dict.fromkeys(title or "the example" for title in self.tried))

    def __str__(self) -> str:
        count = "1 call" if self.calls == 1 else f"{self.calls} calls"
        turns = f" in turns with {', '.join(self.shared)}" if self.shared else ""
        remarks = "".join(f"; not {remark}" for remark in dict.fromkeys(self.remarks))
        return (
            f"verified {self.method}: {count}{turns} ({self.list_tried()}), largest difference "
            f"from eager torch {self.error:.2g}, tolerance {self.tolerance:.2g}{remarks}"
        )


def verify(
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    path: Path,
    make: Callable[[], MLXPartitioner],
) -> list[Verified]:
    """Hold a program file against eager torch; where they differ, say where, and whose fault.

    Args:
        methods: the models, in the order in which they are first called; left as they are.
        programs: exported from them.
        path: the file that was lowered from the programs, every method in it.
        make: gives the partitioner that they were lowered with.

    Raises:
        InputError: there are no example inputs, eager torch does not run on them, torch's own
            results differ between calls, or the file does not load.
        ForeignDifferenceError: torch.export's program, or ExecuTorch alone, computes something
            else as well.
        DifferenceError: an output differs by more than its dtype explains.
    """
    try:
        return verify_calls(methods, programs, load_methods(path))
    except CallError as difference:
        raise attribute(difference, methods, programs, make) from difference


def verify_lowered(
    program: ExecutorchProgramManager,
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    least: float = 0.0,
) -> list[Verified]:
    """`verify_calls` of a finished program, by way of a file.

    Raises:
        InputError, CallError: as `verify_calls` raises them.
    """
    with store(program) as path:
        return verify_calls(methods, programs, load_methods(path), least)


def verify_calls(
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    loaded: Mapping[str, Execution | Call],
    least: float = 0.0,
) -> list[Verified]:
    """Call the methods of a program as eager torch, and compare each call.

    Args:
        methods: the models, in the order in which they are first called; left as they are.
        programs: exported from them, or from what is to give the same results.
        loaded: runs the lowered methods, which keep their state from call to call.
        least: tolerance of parts of the computation, where the programs do not show it.

    Raises:
        InputError: there are no example inputs, eager torch does not run on them, or torch's own
            results differ between calls.
        CallError: an output differs by more than its dtype explains.
    """
    methods = {name: methods[name] for name in programs}
    return _Verification(methods, programs, loaded, least).run()


class _Verification:
    def __init__(
        self,
        methods: Methods,
        programs: Mapping[str, ExportedProgram],
        loaded: Mapping[str, Execution | Call],
        least: float,
    ) -> None:
        self.programs = programs
        self.loaded = loaded
        self.samples = {
            name: list_samples(program, partial(_accept, loaded[name]))
            for name, program in programs.items()
        }
        self.eager = Eager(methods, programs)
        self.tolerances = {
            name: [max(least, value) for value in values]
            for name, values in find_tolerances(programs).items()
        }
        self.calls: list[tuple[str, Sequence[Any]]] = []
        self.verified = {name: Verified(name) for name in programs}

    def run(self) -> list[Verified]:
        start = time.monotonic()
        with self.eager.keep_state():
            before = self.eager.list_state()
            for name in self.programs:
                self._call(name, self.samples[name][0])
            stateful = self.eager.list_state() != before
            turns = self._take_turns() if stateful else self._take_one_by_one()
            if stateful:
                for verified in self.verified.values():
                    verified.shared = tuple(n for n in self.programs if n != verified.method)
            left = dict.fromkeys(self.programs, 0)
            for name, sample in turns:
                if time.monotonic() - start > _PATIENCE:
                    left[name] += 1
                    continue
                self._call(name, sample)
        for name, count in left.items():
            if count:
                calls = "1 further call" if count == 1 else f"{count} further calls"
                self.verified[name].remarks.append(f"made: {calls}, which would take too long")
        return list(self.verified.values())

    def _take_one_by_one(self) -> Iterator[tuple[str, Sample]]:
        for name, samples in self.samples.items():
            yield from ((name, sample) for sample in samples[1:])
            yield name, samples[0]  # nothing may be left of the calls between

    def _take_turns(self) -> Iterator[tuple[str, Sample]]:
        made = dict.fromkeys(self.programs, 1)
        wanted = {name: max(_LEAST_CALLS, len(s)) for name, s in self.samples.items()}
        while any(made[name] < wanted[name] for name in made):
            for name in _pair(list(self.programs)):
                samples = self.samples[name]
                yield name, samples[made[name] % len(samples)]
                made[name] += 1

    def _call(self, name: str, sample: Sample) -> None:
        verified = self.verified[name]
        expected = self._run_eagerly(name, sample)
        if expected is None:
            return
        self.calls.append((name, sample.inputs))
        where = f" (call {len(self.calls)}, {sample.title})" if sample.title else ""
        where = where or (f" (call {len(self.calls)})" if len(self.calls) > 1 else "")
        try:
            found = self.loaded[name](list(sample.inputs))
        except InputError as error:
            if not where:
                raise
            raise CallError(f"{name}{where}: {error}", None, self.calls, None) from error
        explain = partial(self._explain, name, sample, expected)
        try:
            largest = compare(name + where, found, expected, self.tolerances[name], explain)
        except DifferenceError as difference:
            with self.eager.rewind():
                self._refuse_random(name, expected)
            sentence = str(difference)
            raise CallError(sentence, difference.output, self.calls, found) from difference
        verified.calls += 1
        verified.tried.append(sample.title)
        verified.error = max(verified.error, largest)
        least = max(self.tolerances[name], default=0.0)
        limits = (find_tolerance(value, least) for value in expected)
        verified.tolerance = max(verified.tolerance, *limits, 0.0)

    def _run_eagerly(self, name: str, sample: Sample) -> list[Any] | None:
        """Outputs of eager torch; None where the sample is outside of what the model takes."""
        if sample.kind == "sizes" and not self._is_inside(name, sample):
            return None
        restore = self.eager.save_state()
        try:
            return self.eager(name, sample.inputs)
        except Exception as error:
            if sample.kind == "example":
                raise InputError(
                    f"--verify cannot compare {name}: eager torch does not run on the example "
                    f"inputs ({condense(error)}); mend them, or leave --verify out"
                ) from error
            restore()
            remark = f"with {sample.title}, which eager torch refuses ({condense(error)})"
            self.verified[name].remarks.append(remark)
            return None

    def _is_inside(self, name: str, sample: Sample) -> bool:
        """Whether torch.export's program was exported for such sizes: it says so itself."""
        exported = Eager(*[{name: self.programs[name]}] * 2)
        try:
            with exported.keep_state():
                exported(name, sample.inputs)
        except Exception as error:  # noqa: BLE001  (a guard, or an op that fails)
            why = f"which torch.export's program refuses ({condense(error)})"
            self.verified[name].remarks.append(f"with {sample.title}, {why}")
            return False
        return True

    def _explain(self, name: str, sample: Sample, expected: Sequence[Any], output: int) -> float:
        """How far the result moves when each float of the inputs moves by a step of precision.

        What cancels, or jumps, moves far: so it does with another order of summation.
        """
        least = max(self.tolerances[name], default=0.0)
        step = next((step for tolerance, step in _STEPS if least >= tolerance), 2.0**-23)
        spread = 0.0
        with self.eager.rewind():
            self._refuse_random(name, expected)
        with self.eager.rewind():
            for earlier in self.calls[:-1]:
                self.eager(*earlier)
            for seed in range(_DRAWS):
                inputs = [_move(value, step, seed) for value in sample.inputs]
                with self.eager.keep_state():
                    moved = self.eager(name, inputs)[output]
                if isinstance(moved, torch.Tensor) and moved.shape == expected[output].shape:
                    spread = max(spread, measure(moved, expected[output]))
        if spread * _SPREADS > find_tolerance(expected[output], least):
            title = sample.title or "the example"
            moves = f"where a rounding of the inputs alone changes the result by {spread:.2g}"
            self.verified[name].remarks.append(f"held to the tolerance with {title}, {moves}")
        return spread * _SPREADS

    def _refuse_random(self, name: str, expected: Sequence[Any]) -> None:
        """Where eager torch gives other results for the same calls, there is nothing to compare."""
        try:
            compare(name, self.eager.replay(self.calls), expected, self.tolerances[name])
        except DifferenceError as error:
            raise InputError(
                f"--verify cannot compare {name}: eager torch itself gives other numbers in each "
                "call; call model.eval() if dropout does it, or leave --verify out"
            ) from error


def _pair(names: list[str]) -> Iterator[str]:
    """An order in which each name follows each other one, and itself, repeated without end."""
    if len(names) > _MOST_METHODS:
        yield from (*names, *names, *reversed(names), *reversed(names))
        return
    for i, name in enumerate(names):
        yield name
        for other in names[i + 1 :]:
            yield name
            yield other


def _move(value: Any, step: float, seed: int) -> Any:
    if not isinstance(value, torch.Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
    return value * (1 + step * signs).to(value.dtype)


def _accept(loaded: Execution | Call, shapes: Sequence[tuple[int, ...] | None]) -> bool:
    """Whether the file takes inputs of such shapes: ExecuTorch has bounds of its own."""
    if not isinstance(loaded, Execution):
        return True
    return all(
        shape is None
        or shape == given.shape
        or (given.dynamic and all(a <= b for a, b in zip(shape, given.shape, strict=True)))
        for shape, given in zip(shapes, loaded.inputs, strict=True)
    )
