"""Detections: the components of a segmenter's mask as a table, beside the label map."""

import csv
import io

from tfmed.data.spheres import to_mm
from tfmed.metrics import lesions
from tfmed.tasks.prediction import OUTPUTS, Segmenter

COLUMNS = ("x_mm", "y_mm", "z_mm", "score", "diameter_mm")


class LesionSegmenter(Segmenter):
    """Writes detections beside the label map.

    Args:
        connectivity: of voxels of one detection.
        others: as for a `Segmenter`.
    """

    outputs = (*OUTPUTS, "detections")
    usual = ("labels", "detections")

    def __init__(self, *args, connectivity=None, **options):
        super().__init__(*args, **options)
        self.connectivity = connectivity

    def table(self, kind, found):
        """CSV text of a Segmentation's detections, a line each, the surest first: see `detections`."""
        rows = sorted(detections(found, self.connectivity), key=lambda row: -row["score"])
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.4f}" for name, value in row.items()} for row in rows)
        return text.getvalue()


def detections(found, connectivity=None):
    """A row per component of a Segmentation's mask, in the order of `metrics.lesions.centres`: its centre of mass in mm
    (RAS), its greatest probability, and the diameter of the sphere of its volume."""
    mask = found.labels.array > 0
    places = [to_mm(at, found.labels.affine) for at in lesions.centres(mask, connectivity)]
    greatest = lesions.greatest(mask, found.probabilities.array[..., 1], connectivity)
    sizes = lesions.equivalent_diameters(mask, found.labels.spacing, connectivity)
    return [
        dict(zip(COLUMNS, [*map(float, at), float(score), float(size)], strict=True))
        for at, score, size in zip(places, greatest, sizes, strict=True)
    ]
