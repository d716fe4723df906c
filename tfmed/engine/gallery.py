"""Pictures of 2D images and of what is measured on them: grids, pairs, scatter with ellipses, distributions, bars."""

import dataclasses

import numpy as np

_COLOURS = ("#58c4dd", "#ff5c5c", "#9be564", "#d18cff", "#ff8c42", "#f2d0ff", "#6ee7b7", "#fca5a5")
_REAL = "#ffb000"


@dataclasses.dataclass(frozen=True)
class ImageGrid:
    """Rows of images `(H, W)`.

    Args:
        rows: title -> list of images.
        window: (lowest, highest) value shown, black to white.
        caption: what the picture shows, in words.
        notes: title -> list of short texts below the images, or nothing.
    """

    rows: dict
    window: tuple
    caption: str
    notes: dict = dataclasses.field(default_factory=dict)

    def figure(self):
        """The picture as a matplotlib Figure: one mosaic, which is far quicker to draw than an axis per image."""
        columns = max(len(images) for images in self.rows.values())
        h, w = np.shape(next(iter(self.rows.values()))[0])
        line = max(2, round(0.16 * h))  # room for text above a row, and for notes below it
        tall = h + line * (2 if self.notes else 1)
        mosaic = np.full((tall * len(self.rows), (w + 2) * columns - 2), self.window[0], np.float32)
        width = 1.2 * columns
        figure = _figure(width, width * mosaic.shape[0] / mosaic.shape[1], None)
        axis = figure.add_axes([0, 0, 1, 1])
        axis.set_axis_off()
        for top, (title, images) in zip(range(0, len(mosaic), tall), self.rows.items(), strict=True):
            axis.text(1, top + 0.75 * line, title, color="white", fontsize=8)
            for k, image in enumerate(images):
                mosaic[top + line : top + line + h, k * (w + 2) : k * (w + 2) + w] = image
            for k, note in enumerate(self.notes.get(title, ())):
                axis.text((k + 0.5) * (w + 2), top + h + 1.7 * line, note, color="#c8c8c8", fontsize=7, ha="center")
        axis.imshow(mosaic, cmap="gray", vmin=self.window[0], vmax=self.window[1], interpolation="nearest")
        return figure


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
        figure = _figure(4.6 * len(self.panels), 4.4)
        axes = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for axis, (title, ellipses) in zip(axes, self.panels.items(), strict=True):
            others = (name for name in ellipses if name != "reference")
            colours = {"reference": _REAL} | {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(others)}
            for name, ellipse in ellipses.items():
                label = "real" if name == "reference" else name
                axis.scatter(*ellipse.points.T, s=7, alpha=0.4, color=colours[name], linewidths=0)
                axis.plot(*ellipse.outline().T, color=colours[name], linewidth=1.8, label=label)
                axis.plot(*ellipse.centre, "+", color=colours[name], markersize=9)
            _dark(axis, title, "component 1", "component 2")
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
        figure = _figure(3.0 * len(self.panels), 3.2)
        axes = figure.subplots(1, len(self.panels), squeeze=False, sharey=True)[0]
        for axis, (title, values) in zip(axes, self.panels.items(), strict=True):
            parts = axis.violinplot(list(values.values()), showmedians=True, widths=0.8)
            for k, body in enumerate(parts["bodies"]):
                body.set_facecolor(_REAL if list(values)[k] == "R_R" else _COLOURS[k % len(_COLOURS)])
                body.set_alpha(0.7)
            for line in ("cmedians", "cbars", "cmins", "cmaxes"):
                parts[line].set_color("white")
                parts[line].set_linewidth(0.8)
            axis.set_xticks(range(1, len(values) + 1), list(values))
            _dark(axis, title, "", self.unit if axis is axes[0] else "")
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
        figure = _figure(max(5.0, 1.4 + 0.36 * len(groups) * (len(self.bars) + 1)), 4.0)
        axis, width = figure.subplots(), 0.84 / len(self.bars)
        for k, (title, values) in enumerate(self.bars.items()):
            places = [groups.index(group) + (k - (len(self.bars) - 1) / 2) * width for group in values]
            heights, whiskers = zip(*values.values(), strict=True)
            axis.bar(
                places, heights, 0.9 * width, yerr=whiskers, label=title, color=_COLOURS[k % len(_COLOURS)],
                error_kw={"ecolor": "white", "elinewidth": 1, "capsize": 3},
            )  # fmt: skip
        if self.line is not None:
            axis.axhline(self.line, color="white", linewidth=0.8, linestyle="--")
        axis.set_xticks(range(len(groups)), groups)
        _dark(axis, "", self.x, self.y)
        figure.legend(loc="outside upper center", ncols=3, fontsize=8, facecolor="black", labelcolor="white")
        return figure


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A map over a lattice of images, beside the lattice.

    Args:
        template, lattice, heat: images; the map has a value per place of the template's corner.
        place: (p, q) of the best match.
        caption: what the picture shows, in words.
    """

    template: np.ndarray
    lattice: np.ndarray
    heat: np.ndarray
    place: tuple
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = _figure(10, 4.2)
        axes = figure.subplots(1, 3, width_ratios=[1, 3, 3])
        h, w = self.template.shape
        for axis, image, title, colours in zip(
            axes, (self.template, self.lattice, self.heat), ("template", "real images", "match"),
            ("gray", "gray", "inferno"), strict=True,
        ):  # fmt: skip
            axis.imshow(image, cmap=colours)
            axis.set_title(title, color="white", fontsize=9)
            axis.set_axis_off()
        p, q = self.place
        axes[1].plot([q, q + w, q + w, q, q], [p, p, p + h, p + h, p], color="#ff5c5c", linewidth=1.5)
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
        figure = _figure(5.6, 4.6, None)
        axis, beside = figure.add_axes([0.15, 0.12, 0.68, 0.83]), figure.add_axes([0.86, 0.12, 0.035, 0.83])
        shown = axis.imshow(np.ma.masked_equal(counts.T, 0), origin="lower", extent=(*self.window, *self.window),
                            cmap="viridis", norm=LogNorm(1, max(2, counts.max())), aspect="equal")  # fmt: skip
        axis.plot(self.window, self.window, color="white", linewidth=0.8)
        centres, total = (edges[:-1] + edges[1:]) / 2, counts.sum(1)
        means = (counts @ centres)[total > 0] / total[total > 0]
        axis.plot(centres[total > 0], means, color=_REAL, linewidth=1.2)
        _dark(axis, "", *self.names)
        bar = figure.colorbar(shown, cax=beside)
        bar.set_label("voxels", color="white", fontsize=8)
        bar.ax.tick_params(colors="white", labelsize=7)
        return figure


def _figure(width, height, layout="constrained"):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="black", layout=layout)


def _dark(axis, title, x, y):
    axis.set_facecolor("black")
    axis.set_title(title, color="white", fontsize=9)
    axis.set_xlabel(x, color="white", fontsize=8)
    axis.set_ylabel(y, color="white", fontsize=8)
    axis.tick_params(colors="white", labelsize=7)
    for spine in axis.spines.values():
        spine.set_color("#555555")
