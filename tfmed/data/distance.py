"""Signed distance maps: how far each voxel is from the border of a region."""

import numpy as np
from scipy.ndimage import distance_transform_edt


def signed_distance(mask):
    """Signed distance map of a region, scaled to [-1, 1] on each side of its border; float32, shape of the mask.

    Negative inside, 0 on the border (voxels of the region with a neighbour outside, edge to edge), positive outside;
    the deepest voxel is -1 and the farthest one 1 (Li et al. 2020, SASSNet; Luo et al. 2021, DTC). Distances are
    Euclidean, in voxels. An empty region is 1 everywhere, one that fills the volume -1, as nothing borders them.

    Args:
        mask: boolean array of any number of axes.
    """
    mask = np.asarray(mask, bool)
    if not mask.any() or mask.all():
        return np.full(mask.shape, -1.0 if mask.all() else 1.0, np.float32)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    distance = outside / outside.max() - inside / inside.max()
    distance[inside == 1.0] = 0.0
    return distance.astype(np.float32)


def signed_distances(labels, classes):
    """`signed_distance` of each foreground class: class numbers `(*size)` -> `(*size, classes - 1)` float32."""
    return np.stack([signed_distance(labels == number) for number in range(1, classes)], -1)
