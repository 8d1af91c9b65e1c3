"""Exit codes: the same for every command and every output format."""

PASSED = 0
GATE_FAILED = 1
UNUSABLE_INPUT = 2
MODEL_FAILED = 3
DEFECT = 4
INTERRUPTED = 130
