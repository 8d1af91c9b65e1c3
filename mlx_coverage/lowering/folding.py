"""Drop dead calls and compute, once at lowering, what depends on weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_coverage.lowering.interpreter import run_call
from mlx_coverage.lowering.program import ArrayRef, Call, NumberRef
from mlx_coverage.lowering.recorder import Recorder
from mlx_coverage.lowering.weights import Weight

# Free in MLX: a new view of the same bytes. Folding one would store the weight twice.
_VIEWS = frozenset(
    "transpose swapaxes moveaxis expand_dims squeeze reshape broadcast_to flatten unflatten "
    "indexing.slice permute_dims matrix_transpose split unstack atleast_1d atleast_2d".split()
)
_ALLOWANCE = 4096  # bytes by which one folded call may grow the file


@dataclass(frozen=True)
class Folded:
    """What remains: calls in order, and the weights that they (or the outputs) read."""

    calls: tuple[Call, ...]
    weights: Mapping[int, Weight]
    kept: tuple[int, ...]  # where the calls stood among those that were recorded


def fold_constants(
    recorder: Recorder, weights: Mapping[int, Weight], arrays: set[int], numbers: set[int]
) -> Folded:
    """Keep what the output slots need; replace weight-only calls by their results.

    Args:
        recorder: with its calls recorded.
        weights: constants by array slot.
        arrays: array slots that must exist at the end.
        numbers: number slots that must exist at the end.
    """
    producers = {slot: i for i, call in enumerate(recorder.calls) if not call.on_host
                 for slot in call.results}  # fmt: skip
    folder = _Folder(recorder, weights, producers)
    needed, needed_numbers = set(arrays), set(numbers)
    kept: list[int] = []
    folded: dict[int, Weight] = {}
    for index in reversed(range(len(recorder.calls))):
        call = recorder.calls[index]
        wanted = (needed_numbers if call.on_host else needed) & set(call.results)
        if not wanted:
            continue
        if index in recorder.constant_calls and folder.is_worthwhile(index):
            for slot in wanted:
                folded[slot] = Weight.from_array(folder.compute(slot))
            continue
        kept.append(index)
        for reference in call.references():
            if isinstance(reference, NumberRef):
                needed_numbers.add(reference.slot)
            else:
                needed.add(reference.slot)
    used = {slot: weight for slot, weight in weights.items() if slot in needed}
    kept.reverse()
    calls = tuple(recorder.calls[index] for index in kept)
    return Folded(calls, {**used, **folded}, tuple(kept))


class _Folder:
    def __init__(
        self, recorder: Recorder, weights: Mapping[int, Weight], producers: Mapping[int, int]
    ) -> None:
        self.recorder, self.weights, self.producers = recorder, weights, producers

    def is_worthwhile(self, index: int) -> bool:
        """Whether the call computes something from weights that is not much larger than they."""
        call = self.recorder.calls[index]
        if call.function in _VIEWS:
            return False
        sources = self._sources(index)
        size = sum(self.recorder.arrays[slot].values[0].nbytes for slot in call.results)
        return bool(sources) and size <= sum(self.weights[s].nbytes for s in sources) + _ALLOWANCE

    def compute(self, slot: int) -> object:
        """The real value of a constant slot."""
        values: dict[int, object] = {}
        for index in sorted(self._ancestors(self.producers[slot])):
            call = self.recorder.calls[index]
            for reference in call.references():
                if reference.slot in self.weights and reference.slot not in values:
                    values[reference.slot] = self.weights[reference.slot].load()
            run_call(call, values, {})
        return values[slot]

    def _ancestors(self, index: int) -> set[int]:
        seen: set[int] = set()
        pending = [index]
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            pending += [
                self.producers[reference.slot]
                for reference in self.recorder.calls[current].references()
                if isinstance(reference, ArrayRef) and reference.slot in self.producers
            ]
        return seen

    def _sources(self, index: int) -> set[int]:
        calls = self.recorder.calls
        references = (r.slot for i in self._ancestors(index) for r in calls[i].references())
        return {slot for slot in references if slot in self.weights}
