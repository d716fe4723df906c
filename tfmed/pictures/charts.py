"""Charts of what is measured: scatter with ellipses, distributions, bars, curves, joint histograms, confusions."""

import dataclasses

import numpy as np

from tfmed.pictures.style import COLOURS, REAL, dark_figure, darken


@dataclasses.dataclass(frozen=True)
class FeaturePlane:
    """Sets of features in the plane of the reference, a panel per class.

    Args:
        panels: title -> {name or "reference": `tfmed.metrics.feature_plane.Ellipse`}.
    """

    panels: dict

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            "Features of test images in the plane of the two main components of the real images' features (orange); "
            "ellipses reach one standard deviation. The nearer an ellipse lies to the orange one, and the more alike "
            "the two are, the better the generator."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(4.6 * len(self.panels), 4.4)
        axes = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for axis, (title, ellipses) in zip(axes, self.panels.items(), strict=True):
            others = (name for name in ellipses if name != "reference")
            colours = {"reference": REAL} | {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(others)}
            for name, ellipse in ellipses.items():
                label = "real" if name == "reference" else name
                axis.scatter(*ellipse.points.T, s=7, alpha=0.4, color=colours[name], linewidths=0)
                axis.plot(*ellipse.outline().T, color=colours[name], linewidth=1.8, label=label)
                axis.plot(*ellipse.centre, "+", color=colours[name], markersize=9)
            darken(axis, title, "component 1", "component 2")
            axis.set_aspect("equal", "datalim")
            axis.legend(fontsize=7, facecolor="black", labelcolor="white", edgecolor="#555555")
        return figure


@dataclasses.dataclass(frozen=True)
class Distributions:
    """Distributions side by side, a panel per title.

    Args:
        panels: title -> {name: values}.
        unit: what the values are.
        caption: what the picture shows, in words.
    """

    panels: dict
    unit: str
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(3.0 * len(self.panels), 3.2)
        axes = figure.subplots(1, len(self.panels), squeeze=False, sharey=True)[0]
        for axis, (title, values) in zip(axes, self.panels.items(), strict=True):
            violins = axis.violinplot(list(values.values()), showmedians=True, widths=0.8)
            for k, body in enumerate(violins["bodies"]):
                body.set_facecolor(REAL if list(values)[k] == "R_R" else COLOURS[k % len(COLOURS)])
                body.set_alpha(0.7)
            for line in ("cmedians", "cbars", "cmins", "cmaxes"):
                violins[line].set_color("white")
                violins[line].set_linewidth(0.8)
            axis.set_xticks(range(1, len(values) + 1), list(values))
            darken(axis, title, "", self.unit if axis is axes[0] else "")
        return figure


@dataclasses.dataclass(frozen=True)
class Bars:
    """A bar chart: groups of bars with whiskers.

    Args:
        bars: what a bar's colour stands for -> {group: (value, half the whisker's length)}.
        x, y: names of the axes.
        line: value of a dashed line, or None.
        caption: what the picture shows, in words.
    """

    bars: dict
    x: str
    y: str
    line: float | None
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        groups = list(dict.fromkeys(group for values in self.bars.values() for group in values))
        figure = dark_figure(max(5.0, 1.4 + 0.36 * len(groups) * (len(self.bars) + 1)), 4.0)
        axis, width = figure.subplots(), 0.84 / len(self.bars)
        for k, (title, values) in enumerate(self.bars.items()):
            places = [groups.index(group) + (k - (len(self.bars) - 1) / 2) * width for group in values]
            heights, whiskers = zip(*values.values(), strict=True)
            axis.bar(
                places, heights, 0.9 * width, yerr=whiskers, label=title, color=COLOURS[k % len(COLOURS)],
                error_kw={"ecolor": "white", "elinewidth": 1, "capsize": 3},
            )  # fmt: skip
        if self.line is not None:
            axis.axhline(self.line, color="white", linewidth=0.8, linestyle="--")
        axis.set_xticks(range(len(groups)), groups)
        darken(axis, "", self.x, self.y)
        figure.legend(loc="outside upper center", ncols=3, fontsize=8, facecolor="black", labelcolor="white")
        return figure


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves over a number, a panel per title.

    Args:
        panels: title -> {name of a curve: (x, y) lists}; a curve has one colour in all panels.
        x, y: names of the axes.
        caption: what the picture shows, in words.
    """

    panels: dict
    x: str
    y: str
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        names = list(dict.fromkeys(name for curves in self.panels.values() for name in curves))
        figure = dark_figure(max(5.0, 3.6 * len(self.panels)), 3.6)
        axes = figure.subplots(1, len(self.panels), squeeze=False, sharey=True)[0]
        for axis, (title, curves) in zip(axes, self.panels.items(), strict=True):
            for name, (x, y) in curves.items():
                label = name if axis is axes[0] else None
                axis.plot(x, y, "o-", color=COLOURS[names.index(name) % len(COLOURS)], linewidth=1.4, markersize=4,
                          label=label)  # fmt: skip
            darken(axis, title[:40], self.x, self.y if axis is axes[0] else "")
        figure.legend(loc="outside upper center", ncols=3, fontsize=8, facecolor="black", labelcolor="white")
        return figure


@dataclasses.dataclass(frozen=True)
class JointHistogram:
    """How often a value of the reference meets a value of the image; on the diagonal both are equal.

    Args:
        reference, image: values of the same voxels, `(n,)`.
        window: (lowest, highest) value of both axes.
        names: what the axes are, (of the reference, of the image).
    """

    reference: np.ndarray
    image: np.ndarray
    window: tuple
    names: tuple

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            f"Joint histogram of {self.names[0]} (across) and {self.names[1]} (up), voxels counted in 96 x 96 bins; "
            "colours are logarithmic. On the white line both are equal; the orange line is the mean of the latter "
            "where the former has a value."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        from matplotlib.colors import LogNorm

        counts, edges, _ = np.histogram2d(self.reference, self.image, 96, (self.window, self.window))
        figure = dark_figure(5.6, 4.6, None)
        axis, beside = figure.add_axes([0.15, 0.12, 0.68, 0.83]), figure.add_axes([0.86, 0.12, 0.035, 0.83])
        shown = axis.imshow(np.ma.masked_equal(counts.T, 0), origin="lower", extent=(*self.window, *self.window),
                            cmap="viridis", norm=LogNorm(1, max(2, counts.max())), aspect="equal")  # fmt: skip
        axis.plot(self.window, self.window, color="white", linewidth=0.8)
        centres, total = (edges[:-1] + edges[1:]) / 2, counts.sum(1)
        means = (counts @ centres)[total > 0] / total[total > 0]
        axis.plot(centres[total > 0], means, color=REAL, linewidth=1.2)
        darken(axis, "", *self.names)
        bar = figure.colorbar(shown, cax=beside)
        bar.set_label("voxels", color="white", fontsize=8)
        bar.ax.tick_params(colors="white", labelsize=7)
        return figure


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often cases of each class were taken for each, a panel per title.

    Args:
        panels: title -> counts `(classes, classes)`, a row per true class.
        classes: their names.
    """

    panels: dict
    classes: tuple

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            "Cases of each true class (rows) that were taken for each class (columns): how many, and by the colour "
            "which share of their class. On the diagonal they are right; several trainings are added up."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        side = 1.6 + 0.7 * len(self.classes)
        figure = dark_figure((side + 0.3) * len(self.panels), side)
        axes = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for axis, (title, counts) in zip(axes, self.panels.items(), strict=True):
            shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
            axis.imshow(shares, vmin=0, vmax=1, cmap="viridis")
            for (i, j), count in np.ndenumerate(counts):
                axis.text(j, i, str(count), ha="center", va="center", color="black" if shares[i, j] > 0.6 else "white")
            axis.set_xticks(range(len(self.classes)), self.classes, rotation=45, ha="right")
            axis.set_yticks(range(len(self.classes)), self.classes)
            darken(axis, title[:40], "taken for", "true class" if axis is axes[0] else "")
        return figure


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Slice scores of some volumes, and the slices that were chosen by them.

    Args:
        rows: (title, scores `(slices,)`, chosen slices, slices annotated before) of each volume.
        asked: how many slices were chosen in all volumes.
    """

    rows: tuple
    asked: int

    @property
    def caption(self):
        """What the picture shows, in words."""
        names = ", ".join(row[0] for row in self.rows)
        return (
            f"Mean predictive entropy (nats) of each slice of {names}, from the lowest slice to the highest. Orange "
            f"marks are slices that the last round asked for ({self.asked} in all volumes), grey bands those that were "
            "annotated before."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(9, 1.9 * len(self.rows))
        axes = figure.subplots(len(self.rows), 1, squeeze=False)[:, 0]
        for axis, (title, scores, chosen, before) in zip(axes, self.rows, strict=True):
            for z in before:
                axis.axvspan(z - 0.5, z + 0.5, color="#444444")
            axis.plot(scores, color=COLOURS[0], linewidth=1.2)
            axis.plot(chosen, np.asarray(scores)[chosen], "o", color=REAL, markersize=4)
            axis.set_facecolor("black")
            axis.set_title(title[:40], color="white", fontsize=9)
            axis.tick_params(colors="white", labelsize=7)
            axis.set_ylim(bottom=0)
        return figure
