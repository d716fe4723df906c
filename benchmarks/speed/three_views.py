"""Where a structure is in a volume of 256^3 voxels, by a 2-D network along three axes, beside slices one by one.

Run: python -m benchmarks.speed.three_views [--rounds 5] [--side 48] [--widths 8 16]

Here: `tasks.one_reference` cuts a cube out of the volume, and one graph runs the network on batches of its slices along
three axes, puts them back, and finds the centre of the product; twice, as for a centre that stays. First other side:
the same cubes and network, one slice per call. Second one: all slices of the whole volume, one per call, and the centre
of their product, which is what one would write first. The network is untrained: its numbers do not matter.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse

import numpy as np
import tensorflow as tf
from scipy import ndimage

from benchmarks.support.turns import in_turn, report
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.methods.oneshot_landmark import Config, build_network
from tfmed.ops.three_views import centre_of_mass, centred_box, combined, order, view_maps

SIZE = 256


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--widths", type=int, nargs=2, default=(8, 16))
    parser.add_argument("--whole", action="store_true", help="also all slices of the whole volume, once")
    arguments = parser.parse_args()
    side = arguments.side
    network = build_network(Config(side=side, widths=tuple(arguments.widths)))
    volume = np.random.default_rng(0).random((SIZE,) * 3, np.float32)
    one = tf.function(lambda image: tf.sigmoid(network(image, training=False)), autograph=False)

    @tf.function(autograph=False)
    def look(cube):
        found = combined(view_maps(lambda images: tf.sigmoid(network(images, training=False)), cube))
        return centre_of_mass(found)[0]

    def cube_at(centre):
        starts = centred_box(centre, side)
        return starts, np.ascontiguousarray(boxed_array(volume, starts, (side,) * 3, 0.0))

    def batched():
        centre = np.full(3, SIZE / 2)
        for _ in range(2):
            starts, cube = cube_at(centre)
            centre = starts + look(cube).numpy()
        return centre

    def one_by_one(cube):
        product = np.ones(cube.shape, np.float32)
        for axis in range(3):
            turned = cube.transpose(order(axis))
            found = np.stack([one(image[None, ..., None])[0, ..., 0].numpy() for image in turned])
            product *= found.transpose(np.argsort(order(axis)))
        return np.array(ndimage.center_of_mass(product))

    def slices():
        centre = np.full(3, SIZE / 2)
        for _ in range(2):
            starts, cube = cube_at(centre)
            centre = starts + one_by_one(cube)
        return centre

    times, made = in_turn({"slices": slices, "batched": batched}, arguments.rounds)
    print("difference of the centres in voxels", float(np.abs(made["slices"] - made["batched"]).max()))
    report("slices of the cubes, in turn", times["slices"])
    report("batched", times["batched"], times["slices"], "in turn")
    if arguments.whole:
        times, _ = in_turn({"whole": lambda: one_by_one(volume), "batched": batched}, 1)
        report("slices of the volume, in turn", times["whole"])
        report("batched", times["batched"], times["whole"], "in turn")


if __name__ == "__main__":
    main()
