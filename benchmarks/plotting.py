"""The plot of the fan-out: time per child against the number of children, all systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ours import OURS

__all__ = ["plot"]


def plot(answer: Mapping[str, Any], about: str, path: Path) -> None:
    """Draw one question's rows into an SVG file: a panel for each kind of children.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - not everyone has it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, and the file small
    rows = [
        row for row in answer["rows"] if row["unit"] == "us/child" and "not_measured" not in row
    ]
    kinds = list(dict.fromkeys(row["what"] for row in rows))
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(6 * len(kinds), 5.5), sharey=True, squeeze=False
    )
    for panel, kind in zip(panels[0], kinds, strict=True):
        own = [row for row in rows if row["what"] == kind]
        for system in dict.fromkeys(row["system"] for row in own):
            mine = [row for row in own if row["system"] == system]
            sizes = [row["size"] for row in mine]
            medians = [row["median"] for row in mine]
            spread = (
                [row["median"] - row["low"] for row in mine],
                [row["high"] - row["median"] for row in mine],
            )
            ours = system == OURS
            panel.errorbar(
                sizes,
                medians,
                yerr=spread,
                label=system,
                marker="o",
                capsize=3,
                linewidth=2.5 if ours else 1.2,
                color="black" if ours else None,
                zorder=3 if ours else 2,
            )
        panel.set(title=kind, xlabel="children of one fan-out", xscale="log", yscale="log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        panel.grid(visible=True, which="both", alpha=0.25)
        panel.legend(fontsize="small")
    panels[0][0].set_ylabel("microseconds per child (median, lowest to highest)")
    figure.suptitle(about, fontsize="small")
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
