"""Surface distances: tfmed.metrics.surface against scipy (whole volumes, and cropped), a k-d tree, and SimpleITK.

Run it from a checkout: `python -m benchmarks.speed.surface_distance [--repeats 5]`. Every side computes both directed
sets of distances from two masks, by the definition of `tfmed.metrics.surface`, and from them HD95 and ASSD; they are
first checked to agree. The sides take turns in one process. The table gives medians of CPU time (all threads),
quartiles, the ratio ours / theirs, and the memory that numpy arrays take at the most (SimpleITK's own images are not in
that).
"""

import argparse
import statistics
import time
import tracemalloc

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from tfmed.metrics.surface import distances


def ellipsoid(shape, centre, radii):
    """A filled ellipsoid, in voxels."""
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def cases():
    """Name, two masks and their spacing."""
    cube = (160, 160, 160)
    yield ("ellipsoids 160^3", ellipsoid(cube, (80, 80, 80), (45, 60, 55)), ellipsoid(cube, (83, 77, 82), (42, 63, 57)),
           (2.0, 1.0, 1.0))  # fmt: skip
    atrium = (88, 144, 180)
    yield ("ellipsoids 88x144x180", ellipsoid(atrium, (44, 70, 90), (25, 35, 45)),
           ellipsoid(atrium, (46, 73, 87), (23, 37, 44)), (0.625, 0.625, 0.625))  # fmt: skip
    noise = np.random.default_rng(0).random((2, 64, 64, 64)) < 0.5
    yield "noise 64^3", *noise, (2.0, 1.0, 1.0)
    far = np.zeros((2, *cube), bool)
    far[0, 5:40, 5:40, 5:40] = far[1, 120:150, 120:150, 120:150] = True
    yield "cubes far apart 160^3", *far, (2.0, 1.0, 1.0)


def border(mask):
    """Voxels with a face neighbour outside."""
    return mask ^ ndimage.binary_erosion(mask)


def crop(a, b):
    """Both masks in their common box."""
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    return a[box], b[box]


def measures(one, other):
    """HD95 of both sets together, and the mean of both means."""
    return np.percentile(np.hstack([one, other]), 95), (one.mean() + other.mean()) / 2


def ours(a, b, spacing):
    """This package."""
    found = distances(a, b, spacing)
    return found.hd95, found.assd


def by_transform(a, b, spacing):
    """Distance transforms of whole volumes: what MedPy does."""
    a, b = border(a), border(b)
    return measures(*(ndimage.distance_transform_edt(~y, sampling=spacing)[x] for x, y in ((a, b), (b, a))))


def by_cropped_transform(a, b, spacing):
    """The same in the common box."""
    return by_transform(*crop(a, b), spacing)


def by_tree(a, b, spacing):
    """k-d trees of the surface voxels in the common box."""
    a, b = (np.argwhere(border(m)) * spacing for m in crop(a, b))
    return measures(cKDTree(b).query(a)[0], cKDTree(a).query(b)[0])


def by_simpleitk(a, b, spacing):
    """Maurer's distance maps of the surfaces in the common box."""
    images = [sitk.GetImageFromArray(border(m).astype(np.uint8)) for m in crop(a, b)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    maps = [sitk.SignedMaurerDistanceMap(i, squaredDistance=False, useImageSpacing=True) for i in images]
    away = [np.abs(sitk.GetArrayFromImage(m)) for m in maps]
    surfaces = [sitk.GetArrayFromImage(i) > 0 for i in images]
    return measures(away[1][surfaces[0]], away[0][surfaces[1]])


SIDES = {"tfmed": ours, "scipy EDT, whole (MedPy's way)": by_transform, "scipy EDT, cropped": by_cropped_transform,
         "k-d tree, cropped": by_tree, "SimpleITK Maurer, cropped": by_simpleitk}  # fmt: skip


def peak(call):
    """MiB of numpy arrays at the most."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print("| masks | side | HD95 mm | ASSD mm | CPU ms (quartiles) | tfmed / side | MiB |")
    print("|---|---|---|---|---|---|---|")
    for name, a, b, spacing in cases():
        found = {side: call(a, b, spacing) for side, call in SIDES.items()}
        for side, values in found.items():
            np.testing.assert_allclose(values, found["tfmed"], rtol=1e-4, err_msg=f"{name}: {side} disagrees")
        taken = {side: [] for side in SIDES}
        for _ in range(max(repeats, 2)):
            for side, call in SIDES.items():
                start = time.process_time()
                call(a, b, spacing)
                taken[side].append(1e3 * (time.process_time() - start))
        for side, call in SIDES.items():
            middle, (low, _, high) = statistics.median(taken[side]), statistics.quantiles(taken[side], n=4)
            ratio = statistics.median(taken["tfmed"]) / middle
            memory = peak(lambda call=call, a=a, b=b, spacing=spacing: call(a, b, spacing))
            hd95, assd = found[side]
            print(f"| {name} | {side} | {hd95:.3f} | {assd:.3f} | {middle:.0f} ({low:.0f}-{high:.0f}) | {ratio:.2f} "
                  f"| {memory:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
