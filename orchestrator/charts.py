"""Charts as pictures, where matplotlib is installed (the `charts` extra)."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Told apart by people who see colours differently (Paul Tol's bright scheme)."""
MISSING = "`pip install 'agent-queue[charts]'` adds a picture"


def available() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def stacked(title: str, unit: str, days: Sequence[str], parts: Mapping[str, Sequence[float]]) -> bytes:
    """A PNG of bars by day, each stacked of *parts* (a value for each day). Takes a moment: not for the event loop."""
    from matplotlib.figure import Figure  # an extra, and slow to import

    figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    below = [0.0] * len(days)
    for number, (name, values) in enumerate(parts.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.bar(range(len(days)), values, bottom=below, label=_literal(name), color=colour, width=0.7)
        below = [under + value for under, value in zip(below, values, strict=True)]
    axes.set_title(_literal(title), loc="left", fontsize=11)
    axes.set_ylabel(unit)
    every = max(1, len(days) // 15)
    axes.set_xticks(range(0, len(days), every), [days[at] for at in range(0, len(days), every)], fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(parts) > 1:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _literal(text: str) -> str:
    """*text* without what matplotlib reads as mathematics."""
    return text.replace("$", r"\$")
