"""Features of 5,000 pictures by DeepMCAT's pass, beside the network alone on pictures that lie in memory.

Run: python -m benchmarks.speed.feature_pass [--rounds 3] [--cases 5000] [--size 64] [--width 16]

Here: `data.pseudo_labels.feature_pass` over random views (turned, cut out, resized) of prepared pictures in the cache,
read in parallel ahead of the network, into a memory map. Other side: the same graph on the same views, made before and
kept in memory. Their ratio says how much of the pass waits for data: 1 is none of it.
"""

import tfmed  # isort: skip

import argparse
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.support.turns import in_turn, report
from tfmed import registry
from tfmed.data import pseudo_labels
from tfmed.data.sampling import Stream

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "deepmcat.yaml"
_VIEWS = Stream("benchmarks.feature_pass")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    words = parser.parse_args()
    overrides = [
        f"data.options={{cases: {words.cases}}}",
        f"model.image_size={words.size}",
        f"model.width={words.width}",
        "model.avgpool=1",
        "model.hidden=[64]",
        f"train.batch_size={words.batch}",
    ]
    settings = tfmed.load_config(CONFIG, overrides)
    method = registry.method_class(settings.method)(settings)
    images, model = method.images, next(iter(method.stages())).model()
    shape = (words.size, words.size, 1)
    call = tf.function(model.embedded, [tf.TensorSpec((None, *shape), tf.float32)], autograph=False)

    def read(k):
        return method.augmented(images[k], _VIEWS(0, k))

    views = np.stack([read(k) for k in range(len(images))])

    def passed():
        return pseudo_labels.feature_pass(read, len(images), shape, call, model.width, words.batch)

    def alone():
        starts = range(0, len(images), words.batch)
        return np.concatenate([call(tf.constant(views[start : start + words.batch])).numpy() for start in starts])

    times, made = in_turn({"network alone": alone, "feature pass": passed}, words.rounds)
    print(f"largest difference of the features: {np.abs(made['feature pass'] - made['network alone']).max():.1e}")
    report("network alone", times["network alone"])
    report("feature pass", times["feature pass"], times["network alone"], "network alone")


if __name__ == "__main__":
    main()
