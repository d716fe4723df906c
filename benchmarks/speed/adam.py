"""An update of all weights of pix2pix's U-Net-256 and PatchGAN by Keras' Adam and by `tfmed.nn.adam`, in turn.

Run: python -m benchmarks.speed.adam [--rounds 9]
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import statistics
import time

import keras
import tensorflow as tf

from tfmed import compat
from tfmed.nn.adam import Adam
from tfmed.nn.translation import patch_critic, unet_generator


def updates(kind):
    """A compiled update by an optimizer of this kind, of networks of its own."""
    networks = unet_generator(8), patch_critic(3, 2)
    variables = [v for network in networks for v in network.trainable_variables]
    gradients = [tf.random.stateless_normal(v.shape, (0, 0)) for v in variables]
    optimizer = kind(2e-4, 0.5, 0.999, 1e-8)
    optimizer.build(variables)
    return tf.function(lambda: compat.apply_gradients(optimizer, gradients, variables))


def seconds(update):
    """(wall, processor) seconds of one update."""
    begin = time.perf_counter(), time.process_time()
    update()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    sides = {"Keras": updates(keras.optimizers.Adam), "tfmed": updates(Adam)}
    for update in sides.values():
        update()
    times = [{name: seconds(update) for name, update in sides.items()} for _ in range(rounds)]
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {rounds} rounds\n")
    print("| | Keras, ms | tfmed, ms | ratio (range) |\n|---|---|---|---|")
    for place, what in enumerate(("wall", "processor")):
        ratios = [one["Keras"][place] / one["tfmed"][place] for one in times]
        middle = [1e3 * statistics.median(one[name][place] for one in times) for name in sides]
        print(f"| {what} | {middle[0]:.0f} | {middle[1]:.0f} | {statistics.median(ratios):.1f} "
              f"({min(ratios):.1f} - {max(ratios):.1f}) |")  # fmt: skip


if __name__ == "__main__":
    main()
