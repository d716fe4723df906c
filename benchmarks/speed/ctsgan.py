"""CT-SGAN's step time, and its memory while training and sampling.

Run: python -m benchmarks.speed.ctsgan [sampling] [step] [demo] [--repeats 3]

Every measurement is a process of its own (`--one`); memory is its peak resident size (VmHWM of Linux), TensorFlow
included. Weights are untrained: neither time nor memory depends on them.
"""

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import tempfile
import time

from benchmarks.support.processes import fresh, peak_mib
from benchmarks.support.tables import spread

LENGTHS = (64, 256, 1024, 2048)  # slices; the allocator needs some chunks to settle
CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "ctsgan.yaml"


def settings(profile):
    """The settings of a profile of `configs/ctsgan.yaml`."""
    return tfmed.load_config(CONFIG, profile=profile)


def sample(length):
    """Sample one volume `(length, 224, 224)` int16 with the paper's networks, then write it; MiB and seconds."""
    import numpy as np

    from tfmed.io import Volume, write_volume
    from tfmed.methods.ctsgan import CTSGAN

    model = CTSGAN(settings("paper").model)
    begun = time.perf_counter()
    volume = model.sample(length=length, convert=lambda x: np.rint(x * 700 - 300), dtype=np.int16)
    result = {"sampling": peak_mib(), "output": volume.nbytes / 2**20, "seconds": time.perf_counter() - begun}
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Volume(volume, np.eye(4)), pathlib.Path(folder) / "volume.nii.gz")
    return result | {"sampling, then writing": peak_mib()}


def train(profile, steps):
    """Training steps of a profile on noise, after a first one that also compiles; MiB, and seconds of each.

    Processor seconds (of all threads) stand beside the wall clock's: a busy machine lengthens them less.
    """
    import numpy as np
    import tensorflow as tf

    from tfmed.methods.ctsgan import CTSGAN
    from tfmed.methods.ctsgan.model import draw_slab

    chosen = settings(profile)
    config, size = chosen.model, chosen.train.batch_size
    model = CTSGAN(config, per_step=size)
    places = [draw_slab(0, i, config.volume_shape[0], config.slab_length, config.slices_per_slab) for i in range(size)]
    slabs = np.random.default_rng(0).uniform(-1, 1, (size, config.slab_length + 2, *config.volume_shape[1:]))
    batch = {
        "index": tf.range(size, dtype=tf.int64),
        "slab": tf.constant(slabs, tf.float32),
        "start": tf.constant([start for start, _ in places]),
        "chosen": tf.constant(np.stack([offsets for _, offsets in places])),
    }
    step = tf.function(model.train_step)
    taken, before = [], peak_mib()
    for _ in range(steps + 1):
        begun = time.perf_counter(), time.process_time()
        float(step(batch)["critic_slice"])
        taken.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    wall, processor = zip(*taken, strict=True)
    return {"peak": peak_mib(), "before": before, "first": wall[0], "wall": wall[1:], "processor": processor[1:]}


def sampling_table(repeats):
    """Peak memory at several lengths, and its growth over the shortest besides the output itself."""
    print("| 224 x 224 x L, paper networks | L | peak MiB | output MiB | growth - output, MiB | sampling, s |")
    print("|" + 6 * "---|")
    results = {length: [fresh(__spec__.name, "--one", "sample", length) for _ in range(repeats)] for length in LENGTHS}
    for what in ("sampling", "sampling, then writing"):
        peaks = {length: [r[what] for r in found] for length, found in results.items()}
        outputs = {length: found[0]["output"] for length, found in results.items()}
        rest = {length: statistics.median(peaks[length]) - outputs[length] for length in LENGTHS}
        for length, found in results.items():
            cells = [what, str(length), spread(peaks[length], 0), f"{outputs[length]:.0f}"]
            cells += [f"{rest[length] - rest[LENGTHS[0]]:+.0f}", spread([r["seconds"] for r in found], 1)]
            print("| " + " | ".join(cells) + " |", flush=True)


def step_table(profile, steps):
    """Time and memory of training steps."""
    chosen, result = settings(profile), fresh(__spec__.name, "--one", "train", profile, steps)
    shape, batch = " x ".join(map(str, chosen.model.volume_shape)), chosen.train.batch_size
    print("| training step | first, s | later, wall clock s | later, processor s | peak MiB | of it before |")
    print("|" + 6 * "---|")
    cells = [f"{profile}: {shape}, B = {batch}, T = {chosen.model.slab_length}", f"{result['first']:.1f}"]
    cells += [spread(result["wall"]), spread(result["processor"]), f"{result['peak']:.0f}", f"{result['before']:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def machine():
    """Processor, cores and versions, in one line."""
    import keras
    import tensorflow as tf

    found = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    name = found[1] if found else platform.processor()
    return f"{name}, {os.cpu_count()} cores; TensorFlow {tf.__version__}, Keras {keras.__version__}"


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="sampling|step|demo", help="default: all three")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs="+", metavar="WORD", help="one measurement, as JSON")
    options = parser.parse_args()
    if options.one:
        name, *words = options.one
        result = sample(int(words[0])) if name == "sample" else train(words[0], int(words[1]))
        return print(json.dumps(result))
    print(machine())
    wanted = options.what or ["sampling", "step", "demo"]
    if "sampling" in wanted:
        sampling_table(options.repeats)
    if "step" in wanted:
        step_table("paper", 2)
    if "demo" in wanted:
        step_table("demo", 20)


if __name__ == "__main__":
    main()
