"""The look that all figures of the book share.

Colors are Okabe and Ito's, which readers with any common color vision can tell apart. Figures
have a white ground, which the book keeps in dark mode, so that they stay legible there.
"""

from __future__ import annotations

import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, GRAY = PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#7F7F7F",
)
FROZEN, TRAINED = "#DCE6F0", ORANGE
MARKERS = "os^DvPX*"  # one per color
WIDTH = 6.4  # inches; drawn at 140 dots per inch, so that it stays sharp in the book's column


def use_style() -> None:
    """Set Matplotlib's defaults for the book; `reptune.setup` calls it."""
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E6E6E6",
            "figure.facecolor": "white",
            "figure.dpi": 140,
            "savefig.dpi": 140,
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 11,
            "legend.frameon": False,
        }
    )
