"""Presets of published models: `zoo:NAME` without weights, `zoo:NAME@small` with random ones.

Full-size models live on the meta device: they can be checked, not run. The small
variants have the same architecture, few layers and small widths, and can be run. The
classes are those of transformers and diffusers (the extra `zoo`).
"""

from mlx_coverage.zoo import audio, diffusion, recurrent, text, vision
from mlx_coverage.zoo.preset import Methods, Preset, Published

__all__ = ["PRESETS", "SMALL", "Methods", "Preset", "Published"]

# What follows the name of a preset for its small variant.
SMALL = "@small"

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for module in (text, vision, audio, diffusion, recurrent)
    for preset in module.PRESETS
}
