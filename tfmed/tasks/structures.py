"""Structures found in images, by trained segmentation runs or by threshold, for evaluations of translations."""

import functools
from typing import Annotated

import numpy as np
from scipy import ndimage

from tfmed.engine.options import Option
from tfmed.engine.run import load_run
from tfmed.errors import RunError, UserError
from tfmed.tasks.segmentation import SegmentationMethod

Segmenters = Annotated[
    tuple[str, ...] | None,
    Option("segmenters", "segmentation runs that find structures, one per modality; by default thresholds", many=True),
]


def open_segmenters(paths):
    """What finds structures: {modality: function of a Volume -> {region: mask `(z, y, x)`}}.

    Args:
        paths: run directories of segmentation methods of one modality each; regions are those of `model.regions`.

    Raises:
        RunError: a path is no such run.
        UserError: two runs segment the same modality.
    """
    found = {}
    for path in paths:
        run = load_run(path)
        method = run.restored()
        if not isinstance(method, SegmentationMethod):
            raise RunError(f"{run.path}: method {run.method_name!r} does not segment; give a segmentation run")
        modality, *more = method.config.modalities
        if more:
            raise RunError(f"{run.path}: segments {len(more) + 1} images together; give a run of one modality")
        if modality in found:
            raise UserError(f"--segmenters: two runs segment {modality!r}; give one for each modality")
        found[modality] = functools.partial(structures, method, method.segmenter())
    return found


def structures(method, segmenter, volume):
    """{region: mask `(z, y, x)`} that a trained segmentation Method finds in a Volume, on its grid."""
    labels = segmenter([volume]).labels.array
    return {name: np.isin(labels, classes) for name, classes in method.config.scored.items()}


def body_and_bone(ct):
    """{"body", "bone"} -> mask `(z, y, x)` of a CT-like Volume in HU, by threshold.

    The body is, in each slice, the largest piece above -300 HU once thin pieces (the couch) are opened away.
    """
    hu = ct.array
    body = np.stack([_largest(ndimage.binary_opening(plane > -300, np.ones((3, 3)))) for plane in hu])
    return {"body": body, "bone": body & (hu > 250)}


def bright_body(mr, white):
    """{"body"} -> mask `(z, y, x)` of an MR Volume: in each slice the largest piece above a tenth of white."""
    return {"body": np.stack([_largest(plane > 0.1 * white) for plane in mr.array])}


def _largest(mask):
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    return ndimage.binary_fill_holes(pieces == sizes.argmax() + 1)
