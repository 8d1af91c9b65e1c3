"""The suite runs under its own Hypothesis profile, whatever its imports load."""

from hypothesis import HealthCheck, settings

from tests.conftest import PROFILE
from tests.op_conformance import operator_samples


def test_profile_is_ours() -> None:
    assert operator_samples.OPS  # torch's module, which loads a profile, is imported
    assert settings.get_current_profile_name() == PROFILE
    assert HealthCheck.filter_too_much in settings().suppress_health_check
