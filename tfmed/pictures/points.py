"""Pictures of points: found and true ones on an image, errors as segments, and heatmaps over the image."""

import dataclasses

import numpy as np

from tfmed.io import reorient
from tfmed.io.volume import Volume
from tfmed.pictures.style import COLOURS, LABELS, dark_figure, darken, panels
from tfmed.pictures.volumes import draw_directions, planes

TRUE, FOUND, WRONG = "cyan", "orange", "red"


@dataclasses.dataclass(frozen=True)
class PointedImage:
    """An image, its points, and what a network says of it.

    Args:
        title: a few words.
        image: `(y, x)`, or `(y, x, 3)` of colours; values in [0, 1].
        found: `(n, 2)`, (x, y) in pixels.
        true: `(m, 2)`, or None where they are not known; rows of NaN are missing.
        pairs: int `(k, 2)`, (row of `found`, row of `true`) that belong together; None: row by row.
        heatmap: `(y, x)` in [0, 1], or None.
    """

    title: str
    image: np.ndarray
    found: np.ndarray
    true: np.ndarray | None = None
    pairs: np.ndarray | None = None
    heatmap: np.ndarray | None = None

    @property
    def matched(self):
        """`pairs`, or the rows that both have."""
        if self.pairs is not None or self.true is None:
            return np.zeros((0, 2), int) if self.pairs is None else self.pairs
        both = ~(np.isnan(self.found).any(-1) | np.isnan(self.true).any(-1))
        return np.repeat(np.flatnonzero(both)[:, None], 2, 1)


@dataclasses.dataclass(frozen=True)
class PointedImages:
    """A row per image: its points, and its heatmap beside it where there is one.

    Args:
        images: tuple of PointedImage.
        radius: px within which a point counts as found, drawn around true ones; None: not drawn.
    """

    images: tuple
    radius: float | None = None

    @property
    def caption(self):
        """What the picture shows, in words."""
        said = f"Images: {', '.join(self._described(one) for one in self.images)}. "
        if all(one.true is None for one in self.images):
            said += f"Crosses ({FOUND}): points that were found."
        else:
            circles = "circles" if self.radius is None else f"circles of {self.radius:g} px"
            said += (f"True points: {circles} ({TRUE}; {WRONG} where nothing was found). Found ones: crosses ({FOUND}; "
                     f"{WRONG} where there is none). Errors: white segments.")  # fmt: skip
        if any(one.heatmap is not None for one in self.images):
            said += " Right: the network's heatmap over the image."
        return said

    def _described(self, one):
        if one.true is None:
            return f"{one.title} ({len(one.found)} points)"
        there = int((~np.isnan(one.true).any(-1)).sum())
        return f"{one.title} ({len(one.matched)} of {there} points found)"

    def figure(self):
        """The picture as a matplotlib Figure."""
        columns = 2 if any(one.heatmap is not None for one in self.images) else 1
        high, wide = self.images[0].image.shape[:2]
        size = (3.6 * min(wide / high, 2.0), 3.6)
        figure, axes = panels(len(self.images), columns, size, (0.05, 0.05, 0.05, 0.3), (0.08, 0.3), "black")
        for row, one in zip(axes, self.images, strict=True):
            for axis in row:
                axis.set_axis_off()
            draw_points(row[0], one, self.radius)
            row[0].set_title(one.title[:60], color="white", fontsize=9)
            if columns == 2 and one.heatmap is not None:
                draw_heatmap(row[1], one.image, one.heatmap)
                row[1].set_title("heatmap", color="white", fontsize=9)
        return figure


@dataclasses.dataclass(frozen=True)
class LandmarkErrors:
    """Where each landmark is found on average, over all cases, in the mean shape of the true ones.

    Args:
        names: of the landmarks.
        true, found: `(cases, landmarks, 2)`, (x, y) as shares of each image's width; NaN where one is missing.
        aspect: height of an image, of its width.
    """

    names: tuple
    true: np.ndarray
    found: np.ndarray
    aspect: float = 1.0

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            f"Landmarks in the mean shape of {len(self.true)} images. Points ({FOUND}): where single ones were found, "
            f"seen from the true place; circles ({TRUE}): as large as the mean error; white segments: from the mean "
            f"true place to where they are found on average; {WRONG}: the landmark with the largest mean error, "
            f"{self.names[int(np.nan_to_num(self.mean_errors, nan=-1).argmax())]}."
        )

    @property
    def mean_errors(self):
        """Of each landmark, as a share of the width."""
        away = np.linalg.norm(self.found - self.true, axis=-1)
        there = ~np.isnan(away)
        return np.where(there.any(0), np.where(there, away, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)

    def figure(self):
        """The picture as a matplotlib Figure."""
        from matplotlib.patches import Circle

        figure, axes = panels(1, 1, (5.0, 5.0 * min(max(self.aspect, 0.3), 2.0)), (0.1, 0.1, 0.1, 0.3), (0, 0), "black")
        axis, errors = axes[0, 0], self.mean_errors
        axis.set_axis_off()
        worst = int(np.nan_to_num(errors, nan=-1).argmax())
        for k, name in enumerate(self.names):
            both = ~(np.isnan(self.true[:, k]).any(-1) | np.isnan(self.found[:, k]).any(-1))
            if not both.any():
                continue
            centre, away = self.true[both, k].mean(0), self.found[both, k] - self.true[both, k]
            axis.plot(*(centre + away).T, ".", markersize=2, alpha=0.6, color=LABELS[FOUND])
            colour = LABELS[WRONG if k == worst else TRUE]
            axis.add_patch(Circle(tuple(centre), errors[k], fill=False, edgecolor=colour, linewidth=1.0))
            axis.plot(*np.stack([centre, centre + away.mean(0)]).T, color=LABELS["white"], linewidth=1.4)
            axis.text(*(centre + 0.01), name[:20], color="#999999", fontsize=6)
        axis.set_xlim(0, 1)
        axis.set_ylim(self.aspect, 0)
        axis.set_title("errors in the mean shape", color="white", fontsize=9)
        return figure


@dataclasses.dataclass(frozen=True)
class SuccessCurves:
    """Share of landmarks that are found within a distance, by the distance.

    Args:
        limits: distances `(k,)`.
        curves: name -> shares `(k,)`.
        unit: of the distances.
        line: distance of a dashed line, or None.
    """

    limits: np.ndarray
    curves: dict
    unit: str
    line: float | None = None

    @property
    def caption(self):
        """What the picture shows, in words."""
        said = f"Share of landmarks that were found within a distance ({self.unit}) of their true place; higher is "
        return (
            said
            + "better."
            + ("" if self.line is None else f" Beyond the dashed line ({self.line:g}) it is a failure.")
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(5.6, 4.0)
        axis = figure.subplots()
        for k, (name, shares) in enumerate(self.curves.items()):
            axis.plot(self.limits, shares, color=COLOURS[k % len(COLOURS)], linewidth=1.8, label=name)
        if self.line is not None:
            axis.axvline(self.line, color="white", linewidth=0.8, linestyle="--")
        axis.set_ylim(0, 1.02)
        axis.set_xlim(self.limits[0], self.limits[-1])
        darken(axis, "", f"distance ({self.unit})", "share of landmarks")
        axis.legend(fontsize=8, facecolor="black", labelcolor="white", edgecolor="#555555", loc="lower right")
        return figure


def draw_points(axis, one, radius=None):
    """A PointedImage on a matplotlib axis; `radius` of the circles, px."""
    from matplotlib.patches import Circle

    _show(axis, one.image)
    around = max(one.image.shape[:2]) / 80 if radius is None else radius
    matched = one.matched
    for number, place in enumerate(() if one.true is None else one.true):
        if not np.isnan(place).any():
            colour = LABELS[TRUE if number in matched[:, 1] else WRONG]
            axis.add_patch(Circle(tuple(place), around, fill=False, edgecolor=colour, linewidth=1.2))
    for found, true in matched:
        axis.plot(*zip(one.found[found], one.true[true], strict=True), color=LABELS["white"], linewidth=1.2)
    for number, place in enumerate(one.found):
        good = one.true is None or number in matched[:, 0]
        axis.plot(*place, marker="+", markersize=6, markeredgewidth=1.2, color=LABELS[FOUND if good else WRONG])


def draw_heatmap(axis, image, heatmap):
    """A heatmap `(y, x)` in [0, 1] over the grey of an image, on a matplotlib axis."""
    _show(axis, image.mean(-1) if image.ndim == 3 else image)
    shown = np.clip(np.asarray(heatmap, np.float32), 0, 1)
    axis.imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=0.85 * shown**0.5, interpolation="nearest")


def _show(axis, image):
    image = np.clip(np.asarray(image, np.float32), 0, 1)
    axis.imshow(image, cmap=None if image.ndim == 3 else "gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)


# --- volumes ----------------------------------------------------------------------------------------------------------

_AXES = {"axial": (1, 2), "coronal": (0, 2), "sagittal": (0, 1)}  # rows and columns of a plane, of (z, y, x)


@dataclasses.dataclass(frozen=True)
class PointedVolume:
    """A volume and its named landmarks.

    Args:
        title: a few words.
        volume: a Volume `(z, y, x)` of any orientation.
        found: `(n, 3)`, mm towards right, anterior, superior; rows of NaN are missing.
        true: likewise, or None where they are not known.
    """

    title: str
    volume: Volume
    found: np.ndarray
    true: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class PointedVolumes:
    """A row of three planes per volume, through the middle of its landmarks, which are drawn onto them.

    Args:
        volumes: tuple of PointedVolume.
        names: of the landmarks.
        window: (lowest, highest) value shown, black to white.
        reach_mm: how far a plane is shown around that middle; None: all of it.
    """

    volumes: tuple
    names: tuple
    window: tuple
    reach_mm: float | None = None

    @property
    def caption(self):
        """What the picture shows, in words."""
        low, high = (f"{value:g}" for value in self.window)
        said = (
            f"Volumes: {', '.join(self._described(one) for one in self.volumes)}. Axial, coronal and sagittal planes "
        )
        said += (
            f"through the middle of the landmarks ({', '.join(self.names)}, each in a colour), which are drawn onto "
        )
        said += "them. Found: crosses."
        if any(one.true is not None for one in self.volumes):
            said += " True: circles."
        return f"{said} Black is {low}, white {high}. The patient's right is on the left."

    def _described(self, one):
        return f"{one.title} ({int((~np.isnan(one.found).any(-1)).sum())} of {len(self.names)} found)"

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure, axes = panels(len(self.volumes), 3, (3.0, 3.0), (0.05, 0.05, 0.35, 0.3), (0.08, 0.3), "black")
        for row, one in zip(axes, self.volumes, strict=True):
            self._draw(row, one)
        for number, name in enumerate(self.names):
            place = (number + 0.5) / len(self.names)
            figure.text(place, 0.02, name, color=COLOURS[number % len(COLOURS)], ha="center", va="bottom", fontsize=9)
        return figure

    def _draw(self, row, one):
        volume = reorient(one.volume, "RAS")
        back = np.linalg.inv(volume.affine)
        sets = [(np.asarray(points) @ back[:3, :3].T + back[:3, 3])[:, ::-1]
                for points in (one.found, one.true) if points is not None]  # fmt: skip
        known = np.concatenate(sets)
        known = known[~np.isnan(known).any(-1)]
        shape, spacing = np.array(volume.shape), np.array(volume.spacing)
        middle = known.mean(0) if len(known) else (shape - 1) / 2
        at = np.clip(np.rint(middle), 0, shape - 1).astype(int)
        for axis, (plane, (image, aspect)) in zip(row, planes(volume, tuple(at)).items(), strict=True):
            low, high = self.window
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
            rows, columns = _AXES[plane]
            for points, marker, size in zip(sets, ("+", "o"), (9, 7), strict=False):
                for number, point in enumerate(points):
                    if not np.isnan(point).any():
                        place = shape[columns] - 1 - point[columns], shape[rows] - 1 - point[rows]
                        axis.plot(*place, marker=marker, markersize=size, markeredgewidth=1.3, fillstyle="none",
                                  color=COLOURS[number % len(COLOURS)])  # fmt: skip
            reach = np.inf if self.reach_mm is None else self.reach_mm
            seen = [(shape[k] - 1 - middle[k], reach / spacing[k], shape[k]) for k in (columns, rows)]
            (left, right), (top, bottom) = ((max(c - r, -0.5), min(c + r, n - 0.5)) for c, r, n in seen)
            axis.set_xlim(left, right)
            axis.set_ylim(bottom, top)
            axis.set_axis_off()
            draw_directions(axis, plane)
        row[0].set_title(one.title[:60], color="white", fontsize=9, loc="left")
