"""Pictures of lesions and detections: circles on maximum intensity projections, and FROC curves."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmed.io import reorient
from tfmed.io.volume import Volume
from tfmed.pictures.style import LABELS, ON_WHITE, panels
from tfmed.pictures.volumes import draw_directions

TRUE, FOUND, FALSE = "green", "orange", "red"
_AXES = {"axial": 0, "coronal": 1, "sagittal": 2}  # that each projection goes along, of (z, y, x)
_PAD_MM = 1.5  # between a lesion and its circle
_LEAST_MM = 2.5  # radius of a circle that can be seen


@dataclasses.dataclass(frozen=True)
class Circle:
    """A lesion or a detection.

    Args:
        centre_mm: RAS (x, y, z).
        radius_mm: its radius.
        kind: "lesion", "hit" (a detection in a lesion) or "false" (one that is in none).
    """

    centre_mm: tuple[float, ...]
    radius_mm: float
    kind: str


@dataclasses.dataclass(frozen=True)
class Head:
    """A scan and what was marked on it.

    Args:
        title: a few words.
        projections: plane -> (image as radiologists hang it, pixel size (rows, columns) in mm).
        circles: plane -> [(row, column, radius, all in mm from the upper left corner, kind)].
        lesions, found, false: how many lesions there are and were found, and how many detections are in none.
    """

    title: str
    projections: dict[str, tuple[np.ndarray, tuple[float, float]]]
    circles: dict[str, list[tuple[float, float, float, str]]]
    lesions: int
    found: int
    false: int

    @classmethod
    def of(cls, title: str, volume: Volume, circles: Sequence[Circle], found: int) -> "Head":
        """Of a Volume and the circles in its space; `found`: how many lesions were found."""
        volume = reorient(volume, "RAS")
        spacing, shape = np.array(volume.spacing), volume.shape
        projections = {}
        marked: dict[str, list[tuple[float, float, float, str]]] = {}
        for plane, axis in _AXES.items():
            rows, columns = (k for k in range(3) if k != axis)
            image = volume.array.max(axis)[::-1, ::-1].astype(np.float32)  # superior or anterior up, right to the left
            projections[plane] = (image, (float(spacing[rows]), float(spacing[columns])))
            marked[plane] = []
            for one in circles:
                at = (np.linalg.inv(volume.affine) @ [*one.centre_mm, 1.0])[2::-1]
                row, column = (float((shape[k] - at[k] - 0.5) * spacing[k]) for k in (rows, columns))
                marked[plane].append((row, column, max(one.radius_mm + _PAD_MM, _LEAST_MM), one.kind))
        kinds = [one.kind for one in circles]
        return cls(title, projections, marked, kinds.count("lesion"), found, kinds.count("false"))


@dataclasses.dataclass(frozen=True)
class Heads:
    """A row of three projections per scan.

    Args:
        heads: of each scan.
        threshold: from which on voxels count as detected.
    """

    heads: tuple[Head, ...]
    threshold: float

    @property
    def caption(self) -> str:
        """What the picture shows, in words."""
        total, found, false = (sum(getattr(one, name) for one in self.heads) for name in ("lesions", "found", "false"))
        return (
            f"Maximum intensity projections, axial, coronal and sagittal; lesions {TRUE}, dotted; detections {FOUND} "
            f"where their centre lies in a lesion, {FALSE} where it does not. {found} of {total} lesions found, "
            f"{false} false detections in {len(self.heads)} scan(s), from a probability of {self.threshold:.3g} on."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure, axes = panels(len(self.heads), 3, (3.4, 3.2), (0.1, 0.1, 0.05, 0.4), (0.08, 0.35), "black")
        for row, head in zip(axes, self.heads, strict=True):
            for axis, plane in zip(row, _AXES, strict=True):
                self._draw(axis, head, plane)
            said = f"{head.title}: {head.found} of {head.lesions} found, {head.false} false"
            row[0].set_title(said, color="white", fontsize=9, loc="left")
        return figure

    def _draw(self, axis, head, plane):
        from matplotlib.patches import Circle as Ring

        image, (high_mm, wide_mm) = head.projections[plane]
        extent = (0, image.shape[1] * wide_mm, image.shape[0] * high_mm, 0)
        low, high = np.percentile(image, [1, 99.8])
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=extent, interpolation="nearest")
        for row, column, radius, kind in head.circles[plane]:
            colour = LABELS[{"lesion": TRUE, "hit": FOUND}.get(kind, FALSE)]
            wider, style = (0.8, ":") if kind == "lesion" else (0.0, "-")
            ring = Ring((column, row), radius + wider, fill=False, edgecolor=colour, linewidth=1.5, linestyle=style)
            axis.add_patch(ring)
        axis.set_axis_off()
        axis.set_anchor("N")
        draw_directions(axis, plane)


@dataclasses.dataclass(frozen=True)
class FrocCurves:
    """Sensitivity against false positives per case.

    Args:
        curves: name -> (false positives per case, sensitivity), both rising; `metrics.lesions.Froc.line` gives them.
        chosen: name -> (false positives per case, sensitivity) at the threshold that is used.
        most: false positives per case up to which it is drawn.
    """

    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    chosen: dict[str, tuple[float, float]]
    most: float = 8.0

    @property
    def caption(self) -> str:
        """What the picture shows, in words."""
        points = ", ".join(f"{name} {s:.2f} at {f:.2f}" for name, (f, s) in self.chosen.items())
        return (
            "Free-response ROC: the best mean sensitivity over cases at no more false positives per case; "
            f"dots: the threshold in use ({points}). The axis is logarithmic from a tenth on."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure, axes = panels(1, 1, (4.6, 3.4), (0.7, 0.2, 0.6, 0.3), (0.1, 0.1))
        axis = axes[0, 0]
        for k, (name, (false, found)) in enumerate(self.curves.items()):
            colour = ON_WHITE[k % len(ON_WHITE)]
            axis.plot(false, found, marker=".", markersize=4, linewidth=1.2, color=colour, label=name)
            axis.plot(*self.chosen[name], "o", color=colour, markersize=8)
        axis.set_xscale("symlog", linthresh=0.1)
        axis.set_xlim(0, self.most)
        axis.set_ylim(0, 1.03)
        axis.set_xlabel("false positives per case")
        axis.set_ylabel("sensitivity")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=8)
        return figure
