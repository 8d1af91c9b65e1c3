"""Times of functions that do the same, taken in turns so that a busy machine meets all alike."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any


def time_functions(
    functions: Mapping[str, Callable[[], Any]], seconds: float = 4.0
) -> dict[str, float]:
    """The minimum of each function's times, in seconds.

    Args:
        functions: by name; each must finish its work before it returns.
        seconds: how long to measure in all.
    """
    for function in functions.values():
        for _ in range(3):
            function()
    best = dict.fromkeys(functions, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def describe_machine() -> str:
    """Versions and processor, to print above figures."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "executorch", "mlx"))
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; {packages}"


def print_table(title: str, times: Mapping[str, float], reference: str) -> None:
    """One line for each function: time, and ratio to the reference."""
    print(f"\n{title}")
    for name, value in times.items():
        print(f"  {name:34}{value * 1e6:12.1f} us {value / times[reference]:8.2f}x")
