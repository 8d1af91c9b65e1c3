"""Adversarial probes through export, partitioner and runtime: right, or refused and why."""

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import settings

from tests.op_conformance.probes import TOPICS, list_probes
from tests.op_conformance.probes.outcomes import OUTCOMES
from tests.op_conformance.probes.probe import Probe
from tests.op_conformance.sample_running import REFUSED, Outcome, run_raising, run_samples

BRANCHES = 60
# Outside the nightly profile one probe in so many, always the same.
SHARE = 8


@pytest.mark.parametrize("topic", TOPICS)
def test_probes_are_right_or_refused_for_the_expected_reason(topic: str) -> None:
    share = 1 if settings.get_current_profile_name() == "nightly" else SHARE
    probes = [probe for probe in list_probes(topic) if zlib.crc32(probe.name.encode()) % share == 0]
    outcomes = run_probes(probes)
    unexpected = [
        f"{probe.name}: {describe(outcomes[probe.name])}, expected {expect(probe)}"
        f" {outcomes[probe.name].text}"
        for probe in probes
        if describe(outcomes[probe.name]) != expect(probe)
    ]
    assert not unexpected, "\n\n".join(unexpected)


def test_outcomes_are_of_probes() -> None:
    names = {probe.name for topic in TOPICS for probe in list_probes(topic)}
    assert len(names) > 3500
    assert set(OUTCOMES) <= names


def expect(probe: Probe) -> str:
    """What must become of a probe."""
    return OUTCOMES.get(probe.name, "ok")


def describe(outcome: Outcome) -> str:
    """What became of a probe; of a refusal, the reasons."""
    return " ".join(outcome.slugs) if outcome.kind == REFUSED else outcome.kind


def run_probes(probes: Sequence[Probe]) -> dict[str, Outcome]:
    """Every probe through the whole flow, those of one expected outcome together."""
    outcomes = run_raising([probe for probe in probes if probe.raises], ignore)
    answered = [probe for probe in probes if not probe.raises]
    for kind in dict.fromkeys(map(expect, answered)):
        alike = [probe for probe in answered if expect(probe) == kind]
        for start in range(0, len(alike), BRANCHES):
            outcomes |= run_samples(alike[start : start + BRANCHES], ignore)
    return outcomes


def ignore(probes: Sequence[Probe]) -> None:
    """What runs next: of interest only where runs may end the process."""
    del probes
