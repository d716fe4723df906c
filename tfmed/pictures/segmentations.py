"""Pictures of segmentations: contours, entropy and errors, a row per case."""

import dataclasses

import numpy as np

from tfmed.pictures.style import LABELS, panels
from tfmed.pictures.volumes import planes

_COLOURS = tuple(LABELS.values())


@dataclasses.dataclass(frozen=True)
class Case:
    """A row: Volumes on one grid; `reference` may be None."""

    title: str
    image: object
    labels: object
    entropy: object
    reference: object = None


@dataclasses.dataclass(frozen=True)
class Overlay:
    """Segmented cases to show.

    Args:
        cases: the rows.
        label_values: the number of each class, background first.
    """

    cases: tuple
    label_values: tuple

    @staticmethod
    def of(title, images, reference, segmentation, label_values):
        """A row from a Segmentation of images (the last one is shown) and a label map as in files, or None."""
        from tfmed.data.preprocess import class_labels

        reference = None if reference is None else class_labels(reference, label_values)
        return Case(title, images[-1], segmentation.labels, segmentation.entropy, reference)

    @property
    def caption(self):
        """What the picture shows, in words."""
        names = ", ".join(f"{v} {_colour_name(i)}" for i, v in enumerate(self.label_values[1:]))
        in_space = not all(case.image.shape[0] == 1 for case in self.cases)
        planes_are = "Planes cut through most of the segmented region. " if in_space else ""
        sides = " The patient's right is on the left." if in_space else ""
        return (
            f"Rows: {', '.join(case.title for case in self.cases)}. Solid contours are the network's, dashed white "
            f"ones the reference; label values: {names}. {planes_are}Entropy: "
            "black 0, yellow 1 bit or more. Errors: red marks voxels that the network adds, blue those that it misses, "
            f"violet those of another class.{sides}"
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        flat = all(min(case.image.shape) < 4 for case in self.cases)
        columns = ["axial", "entropy", "errors"] if flat else ["axial", "coronal", "sagittal", "entropy", "errors"]
        figure, axes = panels(len(self.cases), len(columns), (2.6, 2.5), (0.05, 0.05, 0.05, 0.4), (0.1, 0.4), "black")
        for row, case in zip(axes, self.cases, strict=True):
            self._draw_row(dict(zip(columns, row, strict=True)), case)
            plane = "image" if case.image.shape[0] == 1 else "axial"
            row[0].set_title(f"{case.title[:24]}\n{plane}", color="white", fontsize=9)
        return figure

    def _draw_row(self, axes, case):
        at = _middle(case)
        low, high = np.percentile(case.image.array, [0.5, 99.5])
        cuts = {"image": planes(case.image, at), "labels": planes(case.labels, at), "entropy": planes(case.entropy, at)}
        cuts["reference"] = planes(case.reference, at) if case.reference is not None else None
        for name, axis in axes.items():
            plane = name if name in cuts["image"] else "axial"
            image, aspect = cuts["image"][plane]
            axis.set_axis_off()
            axis.set_title(name, color="white", fontsize=9)
            if name == "entropy":
                axis.imshow(cuts["entropy"][plane][0], cmap="inferno", vmin=0, vmax=1, aspect=aspect)
                continue
            axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
            labels = cuts["labels"][plane][0]
            reference = cuts["reference"][plane][0] if cuts["reference"] else None
            if name == "errors":
                _draw_errors(axis, labels, reference, aspect)
                continue
            for k in range(1, len(self.label_values)):
                _contour(axis, labels == k, colors=[_COLOURS[(k - 1) % len(_COLOURS)]], linewidths=1.2)
                if reference is not None:
                    _contour(axis, reference == k, colors=["white"], linewidths=0.8, linestyles="dashed")


def _contour(axis, mask, **style):
    if mask.any() and not mask.all() and min(mask.shape) > 1:
        axis.contour(mask.astype(np.float32), levels=[0.5], **style)


def _draw_errors(axis, labels, reference, aspect):
    if reference is None:
        axis.text(0.5, 0.5, "no reference", color="white", ha="center", transform=axis.transAxes, fontsize=8)
        return
    colours = np.zeros((*labels.shape, 4), np.float32)
    colours[(labels != 0) & (reference == 0)] = (1, 0.25, 0.2, 0.75)
    colours[(labels == 0) & (reference != 0)] = (0.3, 0.55, 1, 0.75)
    colours[(labels != 0) & (reference != 0) & (labels != reference)] = (0.75, 0.4, 1, 0.75)
    axis.imshow(colours, aspect=aspect, interpolation="nearest")


def _middle(case):
    """Voxel (z, y, x) of the RAS volume through which planes cut: the slice of each axis with most foreground."""
    from tfmed.io import reorient

    shown = case.reference if case.reference is not None and np.any(case.reference.array) else case.labels
    mask = np.asarray(reorient(shown, "RAS").array) != 0
    if not mask.any():
        return [n // 2 for n in mask.shape]
    return [int(mask.sum(axis=tuple(i for i in range(3) if i != axis)).argmax()) for axis in range(3)]


def _colour_name(i):
    return list(LABELS)[i % len(LABELS)]
