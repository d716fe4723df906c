"""Planes of a volume, and predictions along six views: `tfmed.ops.planes` against `scipy.ndimage.map_coordinates`.

python -m benchmarks.speed.planes [--rounds 9] [--size 192] [--volume 128] [--only planes views]

Planes: image (trilinear) and label (nearest) of one plane of 192 x 192 pixels at random angles through a volume. Views:
a network that does nothing (so that what is measured is the way there and back) sees a volume of 128^3 along six views,
two classes; scipy rotates the volume onto each view's slices and their answer back. The sides run in turn on the same
planes; printed are medians (fastest - slowest), the ratio of each round, the largest difference of the results, and
for views the peak of memory beside the answer's size, each side in a process of its own.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import functools
import multiprocessing
import pathlib

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.support.processes import resident
from benchmarks.support.turns import in_turn, report
from tfmed.ops import planes

VIEWS = 6


def compare_planes(size, rounds):
    """One plane's image and label."""
    volume = gaussian_filter(np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32), 1.0)
    label = (volume > 0).astype(np.uint8)
    image, labels = tf.constant(volume[..., None]), tf.constant(label[..., None])
    frame = planes.frames(planes.uniform_normals(1, np.random.default_rng(1)))
    centre, shape = np.full((1, 3), size / 2 - 0.5), (192, 192)

    def ours():
        one = planes.sample_planes(image, frame, centre, shape, compiled=True).numpy()
        return one, planes.sample_planes(labels, frame, centre, shape, order=0, fill=255, compiled=True).numpy()

    def scipys():
        y, x = (np.arange(side) - (side - 1) / 2 for side in shape)
        along = centre[0] + y[:, None, None] * frame[0, 1] + x[:, None] * frame[0, 2]
        where = np.moveaxis(along, -1, 0)
        one = map_coordinates(volume, where, order=1, mode="grid-constant")
        return one, map_coordinates(label, where, order=0, mode="grid-constant", cval=255)

    times, results = in_turn({"scipy, plane": scipys, "this, plane": ours}, rounds * 5)
    report("scipy, plane", times["scipy, plane"])
    report("this, plane", times["this, plane"], times["scipy, plane"])
    away = np.abs(results["this, plane"][0][0, ..., 0] - results["scipy, plane"][0])
    other = results["this, plane"][1][0, ..., 0] != results["scipy, plane"][1]
    print(f"{'':28s} largest difference {away.max():.1e}; {100 * other.mean():.2f} % of labels (rounding of halves)")


def smooth_volume(size):
    """float32 noise `(size, size, size)`."""
    return gaussian_filter(np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32), 2.0)


def view_sides():
    """{name: function of a volume of any size that gives the answer `(z, y, x, 2)`}."""
    frames = planes.frames(planes.spread_normals(VIEWS, np.random.default_rng(1)))

    def network(slices):
        return tf.concat([slices, 1 - slices], -1)

    takes = [tf.TensorSpec((None, None, None, 1), tf.float32)]
    whole = tf.function(lambda v: planes.along_views(network, v, frames, 2), takes, autograph=False)

    def scipys(volume):
        last = np.array(volume.shape) - 1
        answer = np.zeros((*volume.shape, 2), np.float32)
        for frame in frames:
            reach = np.abs(frame) @ last
            extent = np.ceil(reach - 1e-3).astype(int) + 1
            offset = last / 2 - frame.T @ (reach / 2)
            grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in extent), indexing="ij"))
            there = np.tensordot(frame.T.astype(np.float32), grid, 1) + offset[:, None, None, None].astype(np.float32)
            slices = map_coordinates(volume, there, order=1, mode="grid-constant")
            del grid, there
            said = np.stack([slices, 1 - slices])
            voxels = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in volume.shape), indexing="ij"))
            back = np.tensordot(frame.astype(np.float32), voxels - offset[:, None, None, None].astype(np.float32), 1)
            for k in range(2):
                answer[..., k] += map_coordinates(said[k], back, order=1, mode="nearest") / VIEWS
        return answer

    return {"scipy, six views": scipys, "this, six views": lambda volume: whole(volume[..., None]).numpy()}


def compare_views(size, rounds):
    """A volume along six views, and the memory that each side needs."""
    volume, sides = smooth_volume(size), view_sides()
    times, results = in_turn({name: functools.partial(side, volume) for name, side in sides.items()}, rounds)
    first, second = times
    report(first, times[first])
    report(second, times[second], times[first])
    away = np.abs(results[first] - results[second]).max()
    print(f"{'':28s} largest difference {away:.1e}")
    answer = results[first].nbytes / 2**20
    context = multiprocessing.get_context("spawn")
    for name in sides:
        with context.Pool(1) as pool:
            peak = pool.apply(peak_of, (name, size))
        print(f"{name:28s} {peak:.0f} MiB beside the volume: {peak / answer:.1f} times the answer's {answer:.0f} MiB")


def peak_of(name, size):
    """MiB that a side adds to a process in which it ran on a small volume, answer included."""
    side, volume = view_sides()[name], smooth_volume(size)
    side(smooth_volume(24))
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    before = resident("VmRSS")
    side(volume)
    return (resident("VmHWM") - before) / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--volume", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=("planes", "views"), default=["planes", "views"])
    arguments = parser.parse_args()
    if "planes" in arguments.only:
        compare_planes(arguments.size, arguments.rounds)
    if "views" in arguments.only:
        compare_views(arguments.volume, arguments.rounds)


if __name__ == "__main__":
    main()
