"""Adversarial expressions of torch, from a user's side: tables by topic.

None of it looks at the registry: what to draw is what torch's users may write. `outcomes`
says of what falls back, or is known to differ, why.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from tests.op_conformance.operator_samples import REFUSED_BY_TORCH
from tests.op_conformance.probes import indexing, networks, promotion, reductions, special_values
from tests.op_conformance.probes.probe import Probe

TOPICS: dict[str, Callable[[], Iterable[Probe]]] = {
    function.__name__.removeprefix("list_"): function
    for function in (
        promotion.list_promotion,
        promotion.list_numbers,
        promotion.list_integers,
        promotion.list_conversions,
        special_values.list_unary,
        special_values.list_binary,
        special_values.list_ordered,
        reductions.list_accumulation,
        reductions.list_shapes,
        indexing.list_layouts,
        indexing.list_reads,
        indexing.list_writes,
        networks.list_convolutions,
        networks.list_pooling,
        networks.list_resampling,
        networks.list_attention,
        networks.list_recurrence,
        networks.list_transforms,
    )
}


def list_probes(topic: str) -> list[Probe]:
    """The probes of a topic that torch answers, or refuses as they say, each under its own name.

    A table that crosses ops with dtypes holds some calls that torch does not take.
    """
    probes = [probe for probe in TOPICS[topic]() if is_raised(probe) == probe.raises]
    seen: Counter[str] = Counter()
    for probe in probes:
        seen[probe.name] += 1
        if seen[probe.name] > 1:
            probe.name += f" #{seen[probe.name]}"
    return probes


def is_raised(probe: Probe) -> bool:
    """Whether eager torch raises."""
    try:
        probe.run_torch()
    except REFUSED_BY_TORCH:
        return True
    return False
