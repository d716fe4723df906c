"""What GBDL and its baselines cost beside supervised training, Monte Carlo passes beside one, rank-one beside inverses.

python -m benchmarks.speed.semi_supervised [--rounds 5] [--steps 2] [--patch 16 64 64] [--widths 16 32 64]
       [--only methods] [--methods mean_teacher uamt]

1. methods: a training step of GBDL's two stages and of each of its baselines, on the same segmentation network and as
   many crops (supervised: 4 labelled; the others: 2 and 2).
2. passes: the mean of T Monte Carlo passes of the segmentation network; its dropout sits in the decoder only.
3. rank-one: the product of 32 slices' Gaussians in closed form, and by inverting a matrix of 256 x 256 for each slice.

Each side is a process of its own with two threads; all are built and warmed, then run a round in turn. Printed are the
median and quartiles of the rounds' ratios to the first side, of wall and of processor time (which other work on the
machine disturbs less), and the peak of memory beyond what the process held after its imports, as a ratio too.
"""

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import argparse
import itertools
import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.support.processes import Side, answer, resident
from benchmarks.support.tables import ratios

METHODS = ("supervised", "mean_teacher", "uamt", "double_uncertainty", "tripled_uncertainty", "coranet", "dtc",
           "sassnet", "gbdl latent", "gbdl segmenter")  # fmt: skip
PASSES = ("1", "5", "10", "20")
PRECISIONS = ("closed form", "inverses")
THREADS = {f"{kind}_NUM_THREADS": "2" for kind in ("OMP", "OPENBLAS", "MKL", "TF_INTRA_OP", "TF_INTER_OP")}
SLICES, LATENT, FLOOR = 32, 256, 10.0


def settings(name, arguments):
    """The shipped settings of a method, on the benchmark's network and patch."""
    file = "gbdl.yaml" if name == "gbdl" else f"gbdl/{name}.yaml"
    network = f"{{name: unet, widths: {arguments.widths}, factors: [1, 2, 2], norm: instance, dropout: 0.3}}"
    return tfmed.load_config(f"configs/{file}", [
        f"model.patch={arguments.patch}", f"model.network={network}", "model.stride=null",
        f"model.latent_widths={arguments.widths}",
    ])  # fmt: skip


def training(name, arguments):
    """A function that takes steps of one method's training on a random batch."""
    import tensorflow as tf

    from tfmed.registry import method_class

    name, _, wanted = name.partition(" ")
    found = settings(name, arguments)
    method = method_class(found.method)(found)
    for stage in method.stages():
        model = method.models[stage.name] = stage.model()
        if stage.name == (wanted or "segmenter"):
            break
    rng, shape = np.random.default_rng(0), (found.train.batch_size, *arguments.patch)
    batch = {
        "index": tf.range(shape[0], dtype=tf.int64),
        "image": tf.constant(rng.normal(size=(*shape, 1)).astype("float32")),
        "label": tf.constant((rng.random(shape) < 0.3).astype("int32")),
        "distance": tf.constant(rng.uniform(-1, 1, (*shape, 1)).astype("float32")),
    }
    step = tf.function(model.train_step)

    def run():
        for _ in range(arguments.steps):
            logs = step(batch)
        return float(logs["loss"])

    return run, arguments.steps


def passes(count, arguments):
    """A function that averages Monte Carlo passes over one patch."""
    import tensorflow as tf

    from tfmed.methods.gbdl import build_network
    from tfmed.nn.dropout import mc_mean

    network = build_network(settings("supervised", arguments).model)
    image = tf.random.stateless_normal((1, *arguments.patch, 1), [1, 2])
    mean = tf.function(lambda x: mc_mean(network, x, int(count)))
    return lambda: mean(image).numpy(), 1


def precision(kind, arguments):
    """A function that gives the divergence of the product of slices' Gaussians from the standard normal."""
    import tensorflow as tf

    from tfmed.ops import gaussians

    rng = np.random.default_rng(0)
    means, vectors = (tf.constant(rng.normal(size=(4, SLICES, LATENT)).astype("float32")) for _ in range(2))

    def inverses(means, vectors):
        vectors = tf.cast(vectors, tf.float64)
        a = vectors[..., None] * vectors[..., None, :] + FLOOR * tf.eye(LATENT, dtype=tf.float64)
        return gaussians.product(means, tf.linalg.inv(a @ a))

    def closed(means, vectors):
        return gaussians.product_of_rank_one(means, vectors, FLOOR)

    product = {"closed form": closed, "inverses": inverses}[kind]
    divergence = tf.function(lambda m, v: gaussians.kl_to_standard(*product(m, v)))
    return lambda: divergence(means, vectors).numpy(), 1


KINDS = {"methods": (METHODS, training), "passes": (PASSES, passes), "rank-one": (PRECISIONS, precision)}


def serve(kind, name, arguments):
    """One side: it is built, and runs a round for each line of its input."""
    import tfmed.engine.lifecycle  # noqa: F401  what is measured is not the import of TensorFlow

    before = resident("VmRSS")
    run, count = KINDS[kind][1](name, arguments)
    result = run()
    run()
    answer(result=np.asarray(result).tolist() if kind == "rank-one" else None)
    for line in sys.stdin:
        if line.strip() == "stop":
            return
        begin = time.perf_counter(), time.process_time()
        run()
        wall, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
        answer(wall=wall / count, processor=processor / count, rise=resident("VmHWM") - before)


def compare(kind, arguments, words):
    """Print the table of one kind."""
    names = ("supervised", *arguments.methods) if kind == "methods" else KINDS[kind][0]
    command = [sys.executable, "-m", __spec__.name, *words, "--serve", kind]
    sides = {name: Side(name, [*command, name], THREADS) for name in names}
    for _, side in itertools.product(range(arguments.rounds), sides.values()):
        side.round()
    first = next(iter(sides.values()))
    print(f"\n| {kind} | wall, s | wall | processor | memory, MiB | memory |\n|---|---|---|---|---|---|")
    for name, side in sides.items():
        wall = statistics.median(one["wall"] for one in side.rounds)
        rise = side.rounds[-1]["rise"] / 2**20
        share = side.rounds[-1]["rise"] / first.rounds[-1]["rise"]
        taken = [ratios(side.values(kind), first.values(kind)) for kind in ("wall", "processor")]
        print(f"| {name} | {wall:.4f} | {' | '.join(taken)} | {rise:.0f} | {share:.2f} |", flush=True)
        side.stop()
    results = [np.array(side.first["result"]) for side in sides.values() if side.first["result"] is not None]
    if results:
        print(f"largest relative difference of the results: {np.max(np.abs(results[1] / results[0] - 1)):.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of a training round")
    parser.add_argument("--patch", type=int, nargs=3, default=[16, 64, 64])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS[1:], default=METHODS[1:])
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(*arguments.serve, arguments)
    for kind in arguments.only:
        compare(kind, arguments, sys.argv[1:])


if __name__ == "__main__":
    main()
