"""How fast a method can be on each chip: a roofline of what has to be moved and computed."""

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch.fx import Node

from mlx_coverage.analyze.cost import Cost, evaluate_size, measure_value, sizes
from mlx_coverage.analyze.estimates import Bound, Speed
from mlx_coverage.analyze.flops import INDEXED, name_op
from mlx_coverage.analyze.machines import CHIPS, Chip, bound_time
from mlx_coverage.analyze.memory import list_held, measure_held
from mlx_coverage.lowering.plan import PartitionPlan
from mlx_coverage.registry.call import canonicalize

_DIGITS = 4  # significant ones, of seconds and rates


Measure = Callable[[Node], Cost]


def measure_step(plan: PartitionPlan, measure: Measure, ratio: float | None) -> Speed | None:
    """What a step of generation has to do at least: one token more, with caches kept.

    None for a method that keeps no buffers, or takes no ids of tokens (batch, length) of which
    the length can be 1.
    """
    held = dict(list_held(plan))
    if plan.signature is None or not plan.signature.buffers_to_mutate:
        return None
    for node in plan.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if node in held or not isinstance(value, torch.Tensor) or value.dim() != 2:
            continue
        if value.is_floating_point() or value.dtype is torch.bool:
            continue
        length = value.shape[1]
        symbol = length.node.expr if isinstance(length, torch.SymInt) else None
        if symbol is not None and symbol.is_Symbol and _can_be_one(length):
            with sizes({symbol: 1}):
                costs = {node: measure(node) for node in plan.placements}
                return measure_speed(plan, costs, ratio, evaluate_size(value.shape[0]))
        if evaluate_size(length) == 1:
            costs = {node: measure(node) for node in plan.placements}
            return measure_speed(plan, costs, ratio, evaluate_size(value.shape[0]))
    return None


def _can_be_one(size: torch.SymInt) -> bool:
    # Ranges of torch.export begin at 2 where a `Dim` begins at 0 or 1.
    return bool(size.node.shape_env.bound_sympy(size.node.expr).lower <= 2)


def measure_speed(
    plan: PartitionPlan, costs: Mapping[Node, Cost], ratio: float | None = None, tokens: int = 0
) -> Speed:
    """What a call of the method has to do at least.

    Args:
        plan: of the method.
        costs: of each counted node.
        ratio: of a measured time to the bound on the same machine, as `bench` finds it.
        tokens: that it gives, if it is a step of generation.
    """
    packed = {node: measure_held(node) for node, _ in list_held(plan)}
    moved = _count_moved(plan, costs, packed)
    products: Counter[str] = Counter()
    for node, cost in costs.items():
        if cost.products:
            products[_name_dtype(node)] += cost.products
    total = sum(products.values())
    others = sum(cost.flops or 0 for cost in costs.values()) - total
    saved = {node: _count_saved(node, packed) for node in costs}

    def bound(chip: Chip) -> Bound:
        seconds = bound_time(chip, moved, others, products)
        unfused = sum(_time_node(chip, node, cost, saved[node]) for node, cost in costs.items())
        return Bound(
            chip=chip.name,
            seconds=_round(seconds),
            unfused_seconds=_round(max(unfused, seconds)),
            limit="memory" if moved / chip.bandwidth >= seconds else "arithmetic",
            tokens_per_second=_round(tokens / seconds) if tokens and seconds else None,
            expected_seconds=None if ratio is None else _round(seconds * ratio),
        )

    return Speed(moved, total, others, tokens, tuple(map(bound, CHIPS)))


def _count_moved(
    plan: PartitionPlan, costs: Mapping[Node, Cost], packed: Mapping[Node, int]
) -> int:
    moved = 0
    for node in plan.graph.find_nodes(op="placeholder"):
        readers = [user for user in node.users if user in costs]
        size = packed.get(node)
        if size is None:
            moved += measure_value(node.meta.get("val")) if node.users else 0
        elif readers and all(_reads_rows(user, node) for user in readers):
            moved += min(size, sum(costs[user].written for user in readers))
        elif node.users:
            moved += size
    signature = plan.signature
    names = set(signature.user_outputs) if signature is not None else set()
    return moved + sum(
        measure_value(node.meta.get("val")) for node in plan.graph.nodes if node.name in names
    )


def _reads_rows(user: Node, table: Node) -> bool:
    name = name_op(canonicalize(user.target))
    return name in INDEXED and bool(user.args) and user.args[0] is table


def _count_saved(node: Node, packed: Mapping[Node, int]) -> int:
    """Bytes of a node's operands that packing saves."""
    return sum(
        measure_value(source.meta.get("val")) - packed[source]
        for source in node.all_input_nodes
        if source in packed
    )


def _time_node(chip: Chip, node: Node, cost: Cost, saved: int) -> float:
    products = {_name_dtype(node): cost.products}
    moved = max(cost.read + cost.written - max(saved, 0), 0)
    return bound_time(chip, moved, (cost.flops or 0) - cost.products, products)


def _name_dtype(node: Node) -> str:
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (list, tuple)) else value
    return str(getattr(first, "dtype", "")).removeprefix("torch.")


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
