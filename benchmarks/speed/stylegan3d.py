"""What 3D-StyleGAN costs: phases of a training step, their memory, modulated against plain convolution.

Run: python -m benchmarks.speed.stylegan3d [convolution] [demo] [steps] [--configs 2mm_fd16 2mm_fd32] [--steps 2]

Each figure of `demo` and `steps` is from a process of its own: seconds of the wall clock and of the processor (of all
threads: a busy machine lengthens these less), and the peak resident size. Batches of `steps` are one volume, for which
the critic compares nothing; a path-length penalty looks at half of a batch, here at the same one volume.
"""

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import argparse
import json
import os
import pathlib
import statistics

from benchmarks.support.processes import fresh, peak_mib, timed
from benchmarks.support.tables import spread

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
PHASES = ("generator", "path", "critic", "penalty")


def measure(name, profile, phase, batch, steps, checkpointing):
    """One phase of the step of a configuration: seconds and MiB."""
    import numpy as np
    import tensorflow as tf

    from tfmed.methods.stylegan3d import Config, StyleGAN3D

    file = CONFIGS / ("stylegan3d.yaml" if name == "2mm_fd96" else f"stylegan3d/{name}.yaml")
    settings = tfmed.load_config(file, profile=profile)
    group = settings.model.minibatch_group if batch % settings.model.minibatch_group == 0 else 1
    changes = {"checkpointing": checkpointing, "minibatch_group": group, "d_reg": "r1"}
    config = Config(**settings.model.model_dump() | changes)
    model = StyleGAN3D(config, per_step=batch)
    volumes = np.random.default_rng(0).uniform(-1, 1, (batch, *config.volume_shape, 1)).astype("float32")
    given = {"index": tf.range(batch, dtype=tf.int64), "volume": tf.constant(volumes)}
    step, before = tf.function(model.train_step), peak_mib()
    first, _ = timed(lambda: float(step(given, phase)["generator"]))
    taken = [timed(lambda: float(step(given, phase)["generator"])) for _ in range(steps)]
    wall, processor = zip(*taken, strict=True) if taken else ((first,), (0.0,))
    return {"first": first, "wall": wall, "processor": processor, "peak": peak_mib(), "before": before}


def table(name, profile, batch, steps, checkpointed):
    """A line per phase of a configuration's step."""
    plain = None
    for phase in PHASES:
        for checkpointing in (0, 1) if checkpointed and phase != "penalty" else (0,):
            found = fresh(__spec__.name, "--one", name, profile, phase, batch, steps, checkpointing)
            label = f"{name} {profile}, {batch} volumes, {phase}" + (", checkpointing" if checkpointing else "")
            if found is None:
                print(f"| {label} | does not fit into memory |||||", flush=True)
                continue
            if phase == "generator" and not checkpointing:
                plain = statistics.median(found["processor"])
            ratio = f"{statistics.median(found['processor']) / plain:.2f}" if plain else "-"
            cells = [label, spread(found["wall"]), spread(found["processor"]), ratio]
            print("| " + " | ".join([*cells, f"{found['peak']:.0f}", f"{found['before']:.0f}"]) + " |", flush=True)


def convolutions(repeats):
    """Modulated against plain 3^3 convolution of the same size, forwards and with both gradients, in turn."""
    import tensorflow as tf

    from tfmed.nn.equalized import EqualizedConv3D, ModulatedConv3D

    tf.random.set_seed(0)
    print("| size | plain, processor s | modulated, processor s | ratio of medians |\n|---|---|---|---|")
    for shape in ((2, 40, 48, 56, 16), (2, 40, 48, 56, 32), (2, 20, 24, 28, 96)):
        x, w = tf.random.normal(shape), tf.random.normal((shape[0], 64))
        plain, modulated = EqualizedConv3D(shape[-1], use_bias=False), ModulatedConv3D(shape[-1])
        calls = {"plain": lambda x, layer=plain: layer(x), "modulated": lambda x, layer=modulated, w=w: layer(x, w)}
        for what in ("forward", "with gradients"):
            functions = {name: _compiled(call, what) for name, call in calls.items()}
            taken = {name: [] for name in functions}
            for _ in range(repeats + 1):
                for name, function in functions.items():
                    taken[name].append(timed(lambda function=function, x=x: function(x))[1])
            taken = {name: values[1:] for name, values in taken.items()}
            ratio = statistics.median(taken["modulated"]) / statistics.median(taken["plain"])
            cells = [f"{' x '.join(map(str, shape))}, {what}", *(spread(v, 3) for v in taken.values()), f"{ratio:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def _compiled(call, what):
    import tensorflow as tf

    @tf.function
    def forward(x):
        return tf.reduce_sum(call(x))

    @tf.function
    def with_gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(call(x))
        return tape.gradient(loss, [x, *tape.watched_variables()])

    return forward if what == "forward" else with_gradients


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="convolution|demo|steps", help="default: all three")
    parser.add_argument("--configs", nargs="+", default=["2mm_fd16", "2mm_fd32"], help="rows of the paper's table")
    parser.add_argument("--steps", type=int, default=2, help="measured after a first one, which compiles")
    parser.add_argument("--one", nargs=6, metavar="WORD", help="one measurement, as JSON")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.one:
        name, profile, phase, *numbers = options.one
        return print(json.dumps(measure(name, profile, phase, *map(int, numbers[:2]), bool(int(numbers[2])))))
    wanted = options.what or ["convolution", "demo", "steps"]
    if "convolution" in wanted:
        convolutions(10)
    if {"demo", "steps"} & set(wanted):
        print("| phase of a step | wall clock, s | processor, s | of generator's | peak MiB | of it before |")
        print("|" + 6 * "---|")
    if "demo" in wanted:
        table("2mm_fd96", "demo", 4, 10, checkpointed=True)
    for name in options.configs if "steps" in wanted else ():
        table(name, "paper", 1, options.steps, checkpointed=True)


if __name__ == "__main__":
    main()
