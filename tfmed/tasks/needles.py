"""What filling the unseen stretches of needles is worth: how far a detector's needles are from labelled ones.

As in Hung et al. 2021, who choose the stretches by the labels: boxes along the labelled needle in which no pixel passes
the detector's thresholds.
"""

import numpy as np
from pydantic import Field, PositiveInt

from tfmed.config import Strict
from tfmed.errors import DataError
from tfmed.metrics import needles
from tfmed.metrics.aggregate import mean_and_std


class NeedleTracking(Strict):
    """The detector, and the boxes that are filled; values are of pictures in [0, 1], lengths are pixels."""

    image: str = "needle"  # of a case: a mask of the whole needle
    intensity: float = Field(0.9, ge=0, le=1)  # least of a candidate
    gradient: float = Field(0.03, ge=0)  # least Sobel response of a candidate, per pixel
    degree: int = Field(2, ge=1, le=5)  # of the polynomials
    tolerance: float = Field(2.0, gt=0)  # of candidates from the detected needle
    gap: float = Field(12.0, gt=0)  # without candidates that ends a detected needle
    trials: int = Field(500, ge=1, le=100_000)  # of RANSAC
    length: PositiveInt = 8  # of a box, along the needle
    half_width: int = Field(4, ge=0, le=512)  # of a box, to each side
    margin: int | None = Field(10, ge=0)  # of the labelled needle's box, in which it is looked for; null: everywhere

    def seen(self, picture):
        """Candidates, bool `(y, x)`, of a picture in [0, 1]."""
        return needles.candidates(picture, self.intensity, self.gradient)

    def holes(self, picture, true):
        """What is filled, bool `(y, x)`: boxes along the labelled Needle in which nothing is seen."""
        boxes = needles.unseen_boxes(self.seen(picture), true, self.length, self.half_width)
        return needles.inside(boxes, picture.shape)

    def detected(self, picture, mask, seed=0):
        """The Needle that is found in a picture with a labelled one, or None."""
        seen = self.seen(picture)
        if self.margin is not None:
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            sides = [(max(at[0] - self.margin, 0), at[-1] + self.margin + 1) for at in (rows, columns)]
            near = np.zeros_like(seen)
            near[tuple(slice(*side) for side in sides)] = True
            seen = seen & near
        return needles.detect(seen, self.degree, self.tolerance, self.gap, self.trials, seed)

    def errors(self, picture, mask, true, spacing, seed=0):
        """{"tip error (mm)", "shaft error (mm)"} of what is found in a picture, NaN where nothing is."""
        found = self.detected(picture, mask, seed)
        each = {"tip error (mm)": needles.tip_error, "shaft error (mm)": needles.shaft_error}
        return {name: error(found, true, spacing) if found else float("nan") for name, error in each.items()}


def tracked(tracking, pictures, fills, seed=0):
    """{"needles": a row for pictures as they are and for each way to fill them, "needle cases": those of each picture}.

    Args:
        tracking: the `NeedleTracking`.
        pictures: of (id, picture `(y, x)` in [0, 1], mask of the whole needle, pixels' size (y, x) in mm).
        fills: {name: function of (picture, mask) `(y, x)` -> the picture with what the mask marks filled}.
        seed: of RANSAC.

    Raises:
        DataError: a mask has fewer than two pixels of a needle.
    """
    rows = []
    for name, seen, mask, spacing in pictures:
        if mask.sum() < 2:
            raise DataError(f"{name}: image {tracking.image!r} marks no needle; remove the case")
        true = needles.labelled(mask, tracking.degree)
        hole = tracking.holes(seen, true)
        made = {run: fill(seen, hole.astype(np.float32)) if hole.any() else seen for run, fill in fills.items()}
        for run, picture in ({"as it is": seen} | made).items():
            errors = tracking.errors(picture, mask, true, spacing, seed)
            rows.append({"run": run, "case": name, "filled": int(hole.sum())} | errors)
    return {"needles": _table(rows), "needle cases": rows}


def _table(rows):
    """Means of the rows of pictures over those where a needle was found."""
    found = []
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        row = {"run": run, "pictures": len(own), "with boxes": sum(one["filled"] > 0 for one in own)}
        row["found"] = int(np.isfinite([one["tip error (mm)"] for one in own]).sum())
        for name in ("tip error (mm)", "shaft error (mm)"):
            row |= mean_and_std(name, [one[name] for one in own if np.isfinite(one[name])] or [float("nan")])
        found.append(row)
    return found
