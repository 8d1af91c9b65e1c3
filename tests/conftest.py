"""Hypothesis profiles: `pytest --hypothesis-profile=ci`, or `HYPOTHESIS_PROFILE=ci`."""

import logging
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers

# Before torch is imported, here and in processes that tests start: the order in which torch
# sums depends on its threads, and two workers have two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Conformance refuses what torch refuses and counts the rest itself, with a floor.
SUPPRESSED = (HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large)
COMMON = settings(
    deadline=None,
    database=None,
    suppress_health_check=SUPPRESSED,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)

# Hypothesis also draws the constants of whatever local modules are imported: the cases of a
# test would depend on those that its worker ran before, and on unrelated edits.
providers._get_local_constants = lambda: providers._local_constants

settings.register_profile("development", COMMON, max_examples=20)
settings.register_profile("ci", COMMON, max_examples=70, derandomize=True)
settings.register_profile("nightly", COMMON, max_examples=1000)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "development")
settings.load_profile(PROFILE)

# torch traces its compilation at debug level; pytest would keep every line.
logging.getLogger("torch.__trace").disabled = True

pytest_plugins = ["tests.e2e.summary"]


def pytest_collection_finish() -> None:
    """Load the profile again: importing torch's operator samples loads one of torch's."""
    settings.load_profile(PROFILE)
