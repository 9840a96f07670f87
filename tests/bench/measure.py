"""How the benches measure and tell: ratios against a limit measured in the same run."""

import statistics
import time
from collections.abc import Callable, Mapping


def seconds(act: Callable[[], object], times: int = 3) -> float:
    """Return the best of a few runs."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - started)
    return best


def in_turns(acts: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median of the seconds each act took, all of them in turns: what slows the machine slows them alike."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            taken[name].append(seconds(act, 1))
    return {name: statistics.median(times) for name, times in taken.items()}


def told(name: str, ratio: float, detail: str) -> None:
    """Print one line of the result."""
    print(f"{name:<46} {ratio:6.2f}   {detail}", flush=True)  # noqa: T201 — a bench speaks
