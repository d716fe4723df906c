"""How far what a training step is said to need lies from what it takes.

Run: python -m benchmarks.speed.memory [--methods ctsgan gbdl ...]

Each row is a process of its own: the demo settings of a method with a larger batch, its first step's graph, the
estimate of `tfmed.engine.memory`, and then two steps. Measured is by how much the process grows, at the highest,
beyond what it held before the first step: TensorFlow's own room for the graph, some 100 MiB, is part of it.
"""

import argparse
import json

from benchmarks.support import processes

MIB = 2**20
# By method: overrides that let the tensors outweigh the rest of the process.
METHODS = {
    "ctsgan": ("train.batch_size=16",),
    "gbdl": ("train.batch_size=48", "model.labelled_batch=24"),
    "equireg": ("train.batch_size=32", "model.labelled_batch=16"),
    "fsmr2ct": ("train.batch_size=16",),
    "pix2pix_bridge": ("train.batch_size=16",),
    "stylegan3d": ("train.batch_size=16",),
    "brainnetgan": ("train.batch_size=128",),
    "uss": ("train.batch_size=32",),
}


def measure(name, *overrides):
    """{"state", "computed", "measured"} in MiB, in this process."""
    import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

    import tensorflow as tf

    from tfmed import registry
    from tfmed.engine.loop import Loop
    from tfmed.engine.memory import graph_bytes, state_bytes

    settings = tfmed.load_config(f"configs/{name}.yaml", overrides, profile="demo")
    method = registry.method_class(name)(settings)
    method.prepared("train", lambda items, *_: items)
    stage = next(iter(method.stages()))
    model, samples = stage.model(), stage.train()
    loop = Loop(stage, 0, model, settings, tf.distribute.get_strategy(), (0, 1), None, None, None)
    dataset, step = loop.ready(samples)
    graphs = [step.get_concrete_function(dataset.element_spec, phase).graph for phase in model.phases_of(0)]
    batch = {key: tf.constant(value) for key, value in samples.batch(0).items()}
    before = processes.resident("VmRSS")
    for phase in (*model.phases_of(0), *model.phases_of(0)):
        step(batch, phase)
    values = {"state": state_bytes(model), "computed": max(map(graph_bytes, graphs)),
              "measured": processes.resident("VmHWM") - before}  # fmt: skip
    return {key: round(value / MIB) for key, value in values.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    print("Weights and what optimizers keep, the estimate of all else, and what was measured of that, in MiB.\n")
    print("| demo of | with | state | estimate | measured | measured / estimate |\n|---|---|---|---|---|---|")
    for name in arguments.methods:
        found = processes.fresh(__spec__.name, "--one", name, *METHODS[name])
        columns = METHODS[name][0], found["state"], found["computed"], found["measured"]
        ratio = found["measured"] / found["computed"]
        print(f"| {name} | {' | '.join(map(str, columns))} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
