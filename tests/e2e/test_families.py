"""The cheapest families of the zoo, whole: one delegate a method, and eager torch's numbers.

All families are lowered and run by `make families`, which writes reports/families.md.
"""

import pytest

from mlx_coverage.zoo import PRESETS
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower_methods, run_eagerly

# Each has something that no model of `examples/` has.
CHEAP = (
    "clip-vit-base",  # two towers, argmax, gather by index
    "convnextv2-tiny",  # global response normalization
    "wav2vec2-base",  # grouped convolution as positions, weight norm
)


@pytest.mark.parametrize("name", CHEAP)
def test_family_is_delegated_and_equals_eager(name: str) -> None:
    methods = PRESETS[name].make(small=True)
    lowered = lower_methods(methods)
    for method, (module, args, _, _) in methods.items():
        assert lowered.fallbacks(method) == []
        assert len(lowered.delegates(method)) == 1
        assert_close(lowered.start(method)(*args), run_eagerly(module, *args))
