"""Pictures of segmentations: contours, entropy and errors, a row per case."""

import dataclasses

import numpy as np

from tfmed.metrics.segmentation import dice
from tfmed.pictures.style import LABELS, panels
from tfmed.pictures.volumes import draw_directions, draw_scale_bar, planes

_COLOURS = tuple(LABELS.values())


@dataclasses.dataclass(frozen=True)
class Case:
    """A row: Volumes on one grid; `reference` may be None."""

    title: str
    image: object
    labels: object
    entropy: object
    reference: object = None

    @property
    def is_picture(self):
        """Whether it is a picture, which has neither millimetres nor directions in a body."""
        return self.image.shape[0] == 1 and tuple(self.image.spacing) == (1.0, 1.0, 1.0)

    def dice(self, classes):
        """{class number: Dice} of the classes that the network or the reference has; empty without a reference."""
        if self.reference is None:
            return {}
        found, right = np.asarray(self.labels.array), np.asarray(self.reference.array)
        return {k: dice(found == k, right == k) for k in classes if (found == k).any() or (right == k).any()}


@dataclasses.dataclass(frozen=True)
class Overlay:
    """Segmented cases to show.

    Args:
        cases: the rows.
        label_values: the number of each class, background first.
        names: {number of a class: its name}, of those that have one.
    """

    cases: tuple
    label_values: tuple
    names: dict = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(title, images, reference, segmentation, label_values):
        """A row from a Segmentation of images (the last one is shown) and a label map as in files, or None."""
        from tfmed.data.preprocess import class_labels

        reference = None if reference is None else class_labels(reference, label_values)
        return Case(title, images[-1], segmentation.labels, segmentation.entropy, reference)

    @property
    def caption(self):
        """What the picture shows, in words."""
        names = ", ".join(f"{self._name(k)} {_colour_name(k - 1)}" for k in range(1, len(self.label_values)))
        pictures = all(case.is_picture for case in self.cases)
        return (
            f"Rows: {', '.join(self._described(case) for case in self.cases)}. Solid contours are the network's, "
            f"dashed white ones the reference; classes: {names}. "
            + ("" if pictures else "Planes cut through most of the segmented region. ")
            + "Entropy: black 0, yellow 1 bit or more. Errors: red marks voxels that the network adds, blue those that "
            "it misses, violet those of another class."
            + ("" if pictures else " The patient's right (R) is on the left.")
        )

    def _name(self, k):
        """What class number `k` is called."""
        value = self.label_values[k]
        return str(self.names.get(value, f"label {value}"))

    def _described(self, case):
        scores = case.dice(range(1, len(self.label_values)))
        said = ", ".join(f"{self._name(k)} {score:.2f}" for k, score in scores.items())
        return f"{case.title} (Dice: {said})" if said else case.title

    def figure(self):
        """The picture as a matplotlib Figure."""
        flat = all(min(case.image.shape) < 4 for case in self.cases)
        columns = ["axial", "entropy", "errors"] if flat else ["axial", "coronal", "sagittal", "entropy", "errors"]
        figure, axes = panels(len(self.cases), len(columns), (2.6, 2.5), (0.05, 0.05, 0.05, 0.4), (0.1, 0.4), "black")
        for row, case in zip(axes, self.cases, strict=True):
            self._draw_row(dict(zip(columns, row, strict=True)), case)
            title = f"{case.title[:24]}\n{'image' if case.is_picture else 'axial'}"
            scores = list(case.dice(range(1, len(self.label_values))).values())
            title += f", Dice {np.mean(scores):.2f}" if scores else ""
            row[0].set_title(title, color="white", fontsize=9)
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
            if name in cuts["image"] and not case.is_picture:
                draw_directions(axis, plane)
                draw_scale_bar(axis, case.image, plane, image.shape)
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
