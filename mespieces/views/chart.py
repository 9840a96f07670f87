"""The chart of the journal's activity: one column a day, its operations one upon the other. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mespieces.domain import activity

STEP, BAR, HEIGHT = 10, 8, 100
"""What a day takes, what its column takes of it, and the highest column, in the drawing's units."""
KINDS = {"deposits": "Dépôts", "consultations": "Consultations", "refusals": "Refus", "others": "Autres"}
"""Each kind of operation and its word, from the bottom up."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The columns of each kind as an SVG path's `d`; `top` operations reach the upper edge; `told` are the days to read."""

    days: Sequence[activity.Day]
    told: Sequence[activity.Day]
    paths: Mapping[str, str]
    top: int
    width: int


def draw(days: Sequence[activity.Day]) -> Chart:
    """Return the chart of these days, the oldest on the left; what is not told has no height."""
    top = max((sum(count or 0 for count in one.counts.values()) for one in days), default=0)
    drawn: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for place, one in enumerate(days):
        below = 0
        for kind in KINDS:
            above = below + (one.counts[kind] or 0)
            low, high = (round(HEIGHT * value / (top or 1)) for value in (below, above))
            # What has been told is seen, however little it is beside the highest day.
            if above > below:
                upper, tall = max(HEIGHT - max(high, low + 1), 0), max(high - low, 1)
                drawn[kind].append(f"M{place * STEP} {upper}h{BAR}v{tall}h-{BAR}z")
            below = above
    told = [one for one in days[::-1] if any(one.counts.values())]
    return Chart(days, told, {kind: "".join(paths) for kind, paths in drawn.items()}, top, len(days) * STEP)
