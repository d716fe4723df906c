"""Laplacian pyramids beside OpenCV's, and many completions of one picture beside as many single calls.

Run: python -m benchmarks.speed.inpainting [--rounds 5]

Pyramids: 8 pictures of 256 x 256 built and blended in 4 levels by `ops.pyramid`, with and without the gradient; the
other side makes the same of each picture with cv2.pyrDown and pyrUp (5 x 5 Gaussians: other numbers, as much work).
Completions: 32 of one picture of 64 x 64 by the untrained network of configs/us_inpaint.yaml's demo, of one call and of
32 calls of one each.
"""

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import argparse
import itertools

import cv2
import numpy as np
import tensorflow as tf

from benchmarks.support.turns import in_turn, report
from tfmed.methods.us_inpaint import HPI
from tfmed.ops.pyramid import blend

LEVELS, COUNT = 4, 32


def by_opencv(inside, outside, mask):
    """One picture `(y, x)`."""
    pyramids = []
    for image in (inside, outside, mask):
        levels = [image]
        for _ in range(LEVELS - 1):
            levels.append(cv2.pyrDown(levels[-1]))
        pyramids.append(levels)
    details = [[fine - cv2.pyrUp(coarse) for fine, coarse in itertools.pairwise(levels)] + levels[-1:]
               for levels in pyramids[:2]]  # fmt: skip
    *mixed, found = [b + share * (a - b) for a, b, share in zip(*details, pyramids[2], strict=True)]
    for detail in reversed(mixed):
        found = cv2.pyrUp(found) + detail
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(0)
    inside, outside = random.random((2, 8, 256, 256), np.float32)
    mask = (random.random((8, 256, 256)) > 0.5).astype(np.float32)
    tensors = [tf.constant(one[..., None]) for one in (inside, outside, mask)]
    plain = tf.function(lambda *images: blend(*images, LEVELS), autograph=False)

    @tf.function(autograph=False)
    def gradient(one, other, share):
        with tf.GradientTape() as tape:
            tape.watch(one)
            value = tf.reduce_sum(tf.square(blend(one, other, share, LEVELS)))
        return tape.gradient(value, one)

    sides = {
        "opencv": lambda: np.stack([by_opencv(*each) for each in zip(inside, outside, mask, strict=True)]),
        "pyramid": lambda: plain(*tensors).numpy(),
        "gradient": lambda: gradient(*tensors).numpy(),
    }
    times, _ = in_turn(sides, rounds)
    report("OpenCV, picture by picture", times["opencv"])
    report("ops.pyramid", times["pyramid"], times["opencv"], "OpenCV")
    report("ops.pyramid, with gradient", times["gradient"], times["opencv"], "OpenCV")

    config = tfmed.load_config("us_inpaint", profile="demo").model
    model = HPI(config)
    image, hole = random.random((1, 64, 64, 1), np.float32), np.zeros((1, 64, 64, 1), np.float32)
    hole[:, 20:40, 20:40] = 1
    takes = [tf.TensorSpec((1, 64, 64, 1))] * 2 + [tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int64)]
    call = tf.function(model.complete, takes, autograph=False)
    sides = {
        "single": lambda: [call(image, hole, 1, seed).numpy() for seed in range(COUNT)],
        "batched": lambda: call(image, hole, COUNT, 0).numpy(),
    }
    times, _ = in_turn(sides, rounds)
    report(f"{COUNT} single calls", times["single"])
    report(f"{COUNT} completions at once", times["batched"], times["single"], "single calls")


if __name__ == "__main__":
    main()
