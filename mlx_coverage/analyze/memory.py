"""How much memory a program takes, from the metadata of its plans.

The largest working set is the largest sum of the tensors that are alive at one node of the
program, if nodes run in its order and a tensor is freed after its last reader. Views share the
memory of what they view, and a new value that leaves only as the mutation of a buffer that of
the buffer. MLX fuses pointwise ops and reuses operands, and so needs less; its cache of freed
buffers and the Metal heap need more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from torch._ops import OpOverload
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from mlx_coverage.analyze.cost import find_upper_bounds, measure_value, sizes
from mlx_coverage.analyze.estimates import Fit, Memory, WeightBytes
from mlx_coverage.analyze.machines import MACS
from mlx_coverage.analyze.schedule import find_maker
from mlx_coverage.lowering.plan import Delegated, PartitionPlan
from mlx_coverage.registry.call import bind, canonicalize

# ExecuTorch aligns what a delegate names (`NamedDataStore`); the rest of a file is small.
_ALIGNMENT = 16
# Of the payload and ExecuTorch's flatbuffer, measured on the models of `examples/`: instructions
# and shapes of a node, the name and place of a constant, and what every file has.
_NODE_BYTES, _CONSTANT_BYTES, _FILE_BYTES = 90, 100, 2500
_GROUPS = (128, 64, 32)  # columns for which MLX takes one scale, of `registry.ops.quantization`


def measure_memory(plans: Mapping[str, PartitionPlan]) -> Memory:
    """Weights, state, working set and file of a program with these methods.

    A weight, or a buffer, of several methods counts once; the working set is that of the method
    with the largest one.
    """
    weights: dict[tuple[str, str], int] = {}
    state: dict[str, int] = {}
    written = _list_written(plans)
    for method, plan in plans.items():
        for node, name in list_held(plan):
            size = measure_held(node)
            if name in written:
                state[name] = size
            elif _is_read(node):
                dtype = str(node.meta["val"].dtype).removeprefix("torch.")
                weights[dtype, name or f"{method}.{node.name}"] = size
    working = max((_find_peak(plan) for plan in plans.values()), default=0)
    upper = _measure_upper(plans)
    total = sum(weights.values()) + sum(state.values()) + max(working, upper or 0)
    return Memory(
        weights=_sum_by_dtype(weights),
        state_bytes=sum(state.values()),
        working_bytes=working,
        upper_working_bytes=upper,
        program_bytes=_estimate_file(plans),
        fits=tuple(Fit(mac.name, mac.gpu_bytes, total <= mac.gpu_bytes) for mac in MACS),
    )


def _measure_upper(plans: Mapping[str, PartitionPlan]) -> int | None:
    """The working set at the upper bounds of symbolic sizes; None without, or without bounds."""
    peaks = []
    for plan in plans.values():
        bounds = find_upper_bounds(node.meta.get("val") for node in plan.graph.nodes)
        if bounds is None:
            return None
        if bounds:
            with sizes(bounds):
                peaks.append(_find_peak(plan))
    return max(peaks, default=None)


def _find_peak(plan: PartitionPlan) -> int:
    inside = _find_updates(plan) | frozenset(n for n, _ in list_held(plan))
    last: dict[Node, int] = {}
    nodes = list(plan.graph.nodes)
    for number, node in enumerate(nodes):
        for source in node.all_input_nodes:
            last[_find_owner(source)] = number
    alive = {
        node: measure_value(node.meta.get("val"))
        for node in nodes
        if node.op == "placeholder" and node not in inside
    }
    for node in alive:
        last[node] = len(nodes)  # the caller keeps them
    now = peak = sum(alive.values())
    for number, node in enumerate(nodes):
        if node.op != "call_function" or _find_owner(node) is not node:
            now -= _free(node, last, number, alive)
            continue
        if node not in inside:
            alive[node] = measure_value(node.meta.get("val"))
            now += alive[node]
        peak = max(peak, now)
        now -= _free(node, last, number, alive)
    return peak


def _free(node: Node, last: Mapping[Node, int], number: int, alive: dict[Node, int]) -> int:
    owners = {_find_owner(source) for source in node.all_input_nodes} | {_find_owner(node)}
    return sum(alive.pop(o) for o in owners if o in alive and last.get(o, number) == number)


def _find_owner(node: Node) -> Node:
    """The node that makes the memory that this one's result lies in."""
    while True:
        maker = find_maker(node)
        target = canonicalize(maker.target) if maker.op == "call_function" else None
        if isinstance(target, OpOverload) and target.is_view and maker.all_input_nodes:
            node = maker.all_input_nodes[0]
        else:
            return maker


def _find_updates(plan: PartitionPlan) -> frozenset[Node]:
    """New values that leave only as the mutation of a buffer: written in its place."""
    if plan.signature is None:
        return frozenset()
    names = {
        spec.arg.name for spec in plan.signature.output_specs
        if spec.kind is OutputKind.BUFFER_MUTATION
    }  # fmt: skip
    return frozenset(node for node in plan.graph.nodes if node.name in names)


def list_held(plan: PartitionPlan) -> Iterator[tuple[Node, str]]:
    """Placeholders that no caller passes, and the names of what they hold."""
    if plan.signature is None:
        return
    held = {
        **plan.signature.inputs_to_parameters,
        **plan.signature.inputs_to_buffers,
        **plan.signature.inputs_to_lifted_tensor_constants,
    }
    for node in plan.graph.find_nodes(op="placeholder"):
        if node.name in held:
            yield node, held[node.name]


def _list_written(plans: Mapping[str, PartitionPlan]) -> frozenset[str]:
    signatures = (plan.signature for plan in plans.values() if plan.signature is not None)
    return frozenset(name for s in signatures for name in s.buffers_to_mutate.values())


def _is_read(node: Node) -> bool:
    return any(user.op != "output" for user in node.users)


def measure_held(node: Node) -> int:
    """Bytes of a weight as the program holds it: packed, where an entry packs it."""
    own = measure_value(node.meta.get("val"))
    roles = {(role, user) for user in node.users for role in _find_roles(node, user)}
    sizes = {_measure_packed(node, role, user) for role, user in roles}
    return sizes.pop() if len(sizes) == 1 and len(roles) == len(node.users) else own


def _find_roles(node: Node, user: Node) -> Iterator[str]:
    target = canonicalize(user.target)
    if isinstance(target, OpOverload) and target.namespace == "mlx_coverage":
        arguments = bind(target, user.args, user.kwargs)
        if "bits" in arguments:
            yield from (name for name, value in arguments.items() if value is node)


def _measure_packed(node: Node, role: str, user: Node) -> int:
    """What `registry.ops.quantization` leaves of an operand of a quantized product or look-up."""
    target = canonicalize(user.target)
    assert isinstance(target, OpOverload)
    arguments = bind(target, user.args, user.kwargs)
    tensor = node.meta["val"]
    if role == "weight":
        return int(tensor.numel()) * int(arguments["bits"]) // 8
    if "input" not in arguments or role not in ("scale", "zero_point"):
        return int(tensor.numel()) * int(tensor.dtype.itemsize)
    if role == "zero_point":
        return 0
    columns = arguments["weight"].meta["val"].shape[1] // tensor.shape[1]
    size = next((size for size in _GROUPS if columns % size == 0), columns)
    return 2 * 4 * int(tensor.numel()) * int(columns // size)  # scales and biases, in float32


def _estimate_file(plans: Mapping[str, PartitionPlan]) -> int:
    """Bytes of the `.pte`: constants once for MLX, once for the CPU, and the instructions."""
    stored: dict[tuple[str, str], int] = {}
    nodes = 0
    written = _list_written(plans)
    for method, plan in plans.items():
        nodes += len(plan.placements)
        for node, name in list_held(plan):
            if name in written:
                continue  # zeros, mostly, which are not stored
            readers = {
                isinstance(plan.placements.get(user), Delegated)
                for user in node.users if user.op != "output"
            }  # fmt: skip
            for device in readers:
                size = measure_held(node)
                stored[f"{device}", name or f"{method}.{node.name}"] = _align(size)
    return sum(stored.values()) + nodes * _NODE_BYTES + len(stored) * _CONSTANT_BYTES + _FILE_BYTES


def _align(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _sum_by_dtype(weights: Mapping[tuple[str, str], int]) -> tuple[WeightBytes, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for (dtype, _), size in weights.items():
        counts[dtype] += 1
        sizes[dtype] += size
    return tuple(WeightBytes(d, counts[d], size) for d, size in sizes.most_common())
