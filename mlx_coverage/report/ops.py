"""The registry as a table."""

from collections.abc import Sequence

from mlx_coverage.analyze.model import OpEntry


def render_ops(entries: Sequence[OpEntry], form: str = "text", width: int = 100) -> str:
    raise NotImplementedError
