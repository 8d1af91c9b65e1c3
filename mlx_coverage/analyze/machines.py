"""Published figures of Macs, and what they bound: how much fits, and how fast at best.

Nothing here was measured by us. Each figure has its source beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_GIB = 2**30
_LANES = 128  # of a GPU core: multiply-adds a cycle; github.com/philipturner/metal-benchmarks
_HALVES = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True)
class Mac:
    """An amount of unified memory.

    Attributes:
        gigabytes: as it is sold (GiB).
        gpu_bytes: Metal's `recommendedMaxWorkingSetSize` as macOS sets it; the setting
            `iogpu.wired_limit_mb` raises it.
    """

    gigabytes: int
    gpu_bytes: int

    @property
    def name(self) -> str:
        """`16 GB`."""
        return f"{self.gigabytes} GB"


# What Metal reported, in logs of llama.cpp (10^6 bytes there) and in the reports named.
MACS = (
    Mac(8, 5_726_630_000),  # M1, "5726.63 MB", whisper.cpp's and llama.cpp's CI
    Mac(16, int(11.84 * _GIB)),  # M3, github.com/AlexsJones/llmfit/pull/754
    Mac(24, 19_069_000_000),  # "19069 MB"; the same share as of 16 GB
    Mac(36, 30_150_670_000),  # M3 Max, "30150.67 MB"
    Mac(64, 55_662_790_000),  # M3 Max, "55662.79 MB"
    Mac(128, int(107.52 * _GIB)),  # M5 Max, github.com/antirez/ds4/pull/893
)


@dataclass(frozen=True)
class Chip:
    """A chip with its largest GPU and its widest memory.

    Attributes:
        name: `M1 Pro`.
        bandwidth: of unified memory, in bytes a second.
        cores: of the GPU.
        megahertz: of the GPU.
        half_products: by what factor products of 16-bit numbers are faster than others.
    """

    name: str
    bandwidth: float
    cores: int
    megahertz: int
    half_products: float = 1.0

    @property
    def flops(self) -> float:
        """Operations a second in float32, and in float16: a multiply-add is two."""
        return self.cores * _LANES * 2 * self.megahertz * 1e6


# Bandwidth: Apple's announcements of each chip. Cores: the same. Clocks: philipturner's
# metal-benchmarks (M1, M2) and hmc-tech.com (M3 to M5); they give the 2.6, 5.2, 10.4, 21 and
# 3.6 TFLOPS that Apple published for M1, M1 Pro, M1 Max, M1 Ultra and M2 within 3 %. M5: Apple
# says "over 4x the peak GPU compute for AI" of M4, by its neural accelerators, of the M5 (October
# 2025) and of M5 Pro and Max (March 2026).
CHIPS = (
    Chip("M1", 68e9, 8, 1278),
    Chip("M1 Pro", 200e9, 16, 1296),
    Chip("M1 Max", 400e9, 32, 1296),
    Chip("M1 Ultra", 800e9, 64, 1296),
    Chip("M2", 100e9, 10, 1398),
    Chip("M2 Pro", 200e9, 19, 1398),
    Chip("M2 Max", 400e9, 38, 1398),
    Chip("M2 Ultra", 800e9, 76, 1398),
    Chip("M3", 100e9, 10, 1398),
    Chip("M3 Pro", 150e9, 18, 1398),
    Chip("M3 Max", 400e9, 40, 1398),
    Chip("M3 Ultra", 819e9, 80, 1398),
    Chip("M4", 120e9, 10, 1578),
    Chip("M4 Pro", 273e9, 20, 1578),
    Chip("M4 Max", 546e9, 40, 1678),
    Chip("M5", 153e9, 10, 1740, half_products=4 * 1578 / 1740),
    Chip("M5 Pro", 307e9, 20, 1740, half_products=4 * 1578 / 1740),
    Chip("M5 Max", 614e9, 40, 1740, half_products=4 * 1678 / 1740),
)


def bound_time(chip: Chip, moved: int, flops: int, products: Mapping[str, int]) -> float:
    """The roofline of a call: seconds below which it cannot take.

    Args:
        chip: that it runs on.
        moved: bytes that have to be read or written at least.
        flops: floating-point operations, other than those of products.
        products: those of products, by dtype of the operands.
    """
    work = flops / chip.flops
    for dtype, count in products.items():
        work += count / (chip.flops * (chip.half_products if dtype in _HALVES else 1.0))
    return max(moved / chip.bandwidth, work)
