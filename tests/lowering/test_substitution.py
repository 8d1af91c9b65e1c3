"""What of a pattern is looked for before it is traced."""

import pytest
import torch

from mlx_coverage.lowering.substitution import list_pattern_ops
from mlx_coverage.registry.call import name_target
from mlx_coverage.registry.ops import FAMILIES
from mlx_coverage.registry.spec import Pattern

PATTERNS = [p for family in FAMILIES for p in family.patterns if p.find is None]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: name_target(p.spec.target))
def test_anchor_of_a_pattern_is_one_of_its_ops(pattern: Pattern) -> None:
    assert isinstance(pattern.anchor, torch._ops.OpOverload)
    assert pattern.anchor in list_pattern_ops(pattern)
