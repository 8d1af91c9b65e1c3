"""What keeps nodes off the delegate, ranked by what would be gained without it.

A blocker is an op that falls back for one primary reason, with all nodes that fall back for the
same cause. Its gain is found by making the
plan again, with the planner's own rules, as if all those nodes were supported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch._ops import OpOverload
from torch.fx import Node

from mlx_coverage.analyze.model import (
    NONE,
    Blocker,
    Figures,
    SearchExtent,
    Step,
    Untried,
    WayEnd,
)
from mlx_coverage.analyze.schedule import Schedule
from mlx_coverage.lowering.plan import Delegated, PartitionPlan
from mlx_coverage.registry.call import canonicalize, name_node
from mlx_coverage.registry.judge import Supported, Unsupported, Verdict
from mlx_coverage.registry.spec import OpSpec

Key = tuple[str, str]
Rating = tuple[int, int, int, int, Key]

# Making a plan again takes linear time; in a large program with many blockers, the most
# frequent ones are tried, until this many nodes have been placed.
BUDGET = 1_000_000
# A greedy step tries so many of the remaining blockers, the best ones when alone.
_CANDIDATES = 6
_STEPS = 8


@dataclass(frozen=True)
class _Outcome:
    """A plan, and what it comes to."""

    plan: PartitionPlan
    figures: Mapping[Node, Figures]

    @cached_property
    def delegated(self) -> Figures:
        """Work on MLX."""
        placements = self.plan.placements.items()
        on_mlx = (self.figures[node] for node, p in placements if isinstance(p, Delegated))
        return sum(on_mlx, Figures())

    @cached_property
    def crossing_bytes(self) -> int:
        """Bytes between segments, the caller's inputs and outputs left out."""
        passages = Schedule(self.plan).list_passages().items()
        return sum(passage.bytes for ends, passage in passages if NONE not in ends)

    @property
    def partitions(self) -> int:
        return len(self.plan.partitions)


class Search:
    """The blockers of one plan.

    Args:
        plan: with its graph intact.
        figures: the cost of each counted node.
        causes: op and reason that the findings name for a node, where those are not its own.
    """

    def __init__(
        self,
        plan: PartitionPlan,
        figures: Mapping[Node, Figures],
        causes: Mapping[Node, Key] | None = None,
    ) -> None:
        self._now = _Outcome(plan, figures)
        self._members: dict[Key, list[Node]] = {}
        for node, verdict in plan.verdicts.items():
            if isinstance(verdict, Unsupported):
                own = (name_node(node), verdict.primary.slug)
                key = causes.get(node, own) if causes else own
                self._members.setdefault(key, []).append(node)
        self._budget = self._left = BUDGET
        self._untried: list[Key] = []
        self._end: WayEnd = "complete"

    def rank(self) -> tuple[Blocker, ...]:
        """Every blocker, the most rewarding first.

        By partitions saved (more partitions than now count as none saved), then FLOPs, nodes
        and crossing bytes gained. In a program too large to try all, the most frequent ones.
        """
        outcomes = {}
        for key in sorted(self._members, key=lambda key: (-len(self._members[key]), key)):
            if self._left <= 0:
                self._untried.append(key)
            else:
                outcomes[key] = self._suppose([key])
        ranked = sorted(outcomes, key=self._rate(outcomes, self._now))
        return tuple(self._describe(key, outcomes[key]) for key in ranked)

    def find_way(self, blockers: Iterable[Blocker]) -> tuple[Step, ...]:
        """Greedily, which blocker to mend next, given those mended before; at most eight."""
        remaining = [(blocker.op, blocker.slug) for blocker in blockers]
        mended: list[Key] = []
        steps: list[Step] = []
        now = self._now
        while remaining and len(steps) < _STEPS and self._left > 0:
            outcomes = {key: self._suppose([*mended, key]) for key in remaining[:_CANDIDATES]}
            best = min(outcomes, key=self._rate(outcomes, now))
            remaining.remove(best)
            mended.append(best)
            now = outcomes[best]
            steps.append(
                Step(
                    op=best[0],
                    slug=best[1],
                    delegated=now.delegated.nodes,
                    gained=now.delegated - self._now.delegated,
                    partitions=now.partitions,
                    crossing_bytes=now.crossing_bytes,
                )
            )
        if remaining or self._untried:
            self._end = "steps" if len(steps) == _STEPS else "budget"
        return tuple(steps)

    def describe_extent(self) -> SearchExtent:
        """How far it went."""
        untried = (Untried(op, slug, len(self._members[op, slug])) for op, slug in self._untried)
        return SearchExtent(self._budget, tuple(untried), self._end)

    def _suppose(self, keys: Iterable[Key]) -> _Outcome:
        verdicts = dict(self._now.plan.verdicts)
        for key in keys:
            verdicts.update((node, _support(node)) for node in self._members[key])
        self._left -= len(verdicts)
        return _Outcome(self._now.plan.suppose(verdicts), self._now.figures)

    @staticmethod
    def _rate(outcomes: Mapping[Key, _Outcome], now: _Outcome) -> Callable[[Key], Rating]:
        def rate(key: Key) -> Rating:
            outcome = outcomes[key]
            gained = outcome.delegated - now.delegated
            return (
                -max(now.partitions - outcome.partitions, 0),
                -gained.flops,
                -gained.nodes,
                outcome.crossing_bytes,
                key,
            )

        return rate

    def _describe(self, key: Key, outcome: _Outcome) -> Blocker:
        members = self._members[key]
        verdicts = (self._now.plan.verdicts[node] for node in members)
        others = Counter(
            reason.slug
            for verdict in verdicts
            if isinstance(verdict, Unsupported)
            for reason in verdict.reasons[1:]
        )
        return Blocker(
            op=key[0],
            slug=key[1],
            nodes=len(members),
            others=tuple(sorted(others.keys() - {key[1]})),
            gained=outcome.delegated - self._now.delegated,
            partitions=outcome.partitions,
            partitions_saved=self._now.partitions - outcome.partitions,
            crossing_bytes_saved=self._now.crossing_bytes - outcome.crossing_bytes,
        )


def _support(node: Node) -> Verdict:
    target = canonicalize(node.target)
    view = isinstance(target, OpOverload) and target.is_view
    return Supported(OpSpec(target, lambda: None, (), None, view=view))
