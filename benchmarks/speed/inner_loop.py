"""A second-order meta-gradient of a U-Net by `tfmed.training.meta` and by PyTorch, in turn; and one of first order.

Run: python -m benchmarks.speed.inner_loop [--rounds 7] [--size 64] [--widths 8 16 32] [--images 4] [--peer PYTHON]

An episode of 2 x `images` pictures of two classes, one inner step on batch norm's own moments. PyTorch's side runs in
another process, by an interpreter that has it (`--peer`): the same network by `torch.func.functional_call`, and
`torch.autograd.grad` with `create_graph`, as packages for MAML do it. Both have two threads. Printed are medians and
ranges of wall and of processor seconds, and of their ratios round by round.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

THREADS = 2


def ours(arguments):
    """{order: function that makes one meta-gradient}."""
    import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
    import tensorflow as tf

    from tfmed.compat import layers_within, of_one_replica
    from tfmed.nn.unet import unet
    from tfmed.training.meta import adapt, model_loss, tensors_of

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    how = dict(norm="batch", upsample="transposed", conv_bias=False)
    network = unet(3, 2, (arguments.size,) * 2, arguments.widths, **how)
    for layer in layers_within(network):
        if hasattr(layer, "moving_mean"):
            of_one_replica(layer)
    shape = (arguments.images, arguments.size, arguments.size)
    data = [(tf.random.stateless_normal((*shape, 3), (k, 0)),
             tf.random.stateless_uniform(shape, (k, 1), 0, 2, tf.int32)) for k in range(2)]  # fmt: skip

    def entropy(labels, logits):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def gradient(first_order):
        theta, state = tensors_of(network)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            made = adapt(model_loss(network, *data[0], entropy), theta, state, 0.01, 1, first_order)
            value, _ = model_loss(network, *data[1], entropy)(made.weights, made.state)
        return tape.gradient(value, theta)

    def compiled(first_order):
        graph = tf.function(lambda: gradient(first_order), autograph=False)
        return lambda: next(one.numpy() for one in graph())

    return {"second order": compiled(False), "first order": compiled(True)}


def theirs(arguments):
    """The same by PyTorch."""
    import torch
    from torch import nn
    from torch.func import functional_call

    torch.set_num_threads(THREADS)

    def level(before, width):
        one = [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*one, nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    class UNet(nn.Module):
        def __init__(self, widths):
            super().__init__()
            self.down = nn.ModuleList(level(a, b) for a, b in zip((3, *widths), widths, strict=False))
            pairs = list(itertools.pairwise(widths))[::-1]
            self.wide = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
            self.up = nn.ModuleList(level(2 * a, a) for a, _ in pairs)
            self.head = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x):
            skips = []
            for number, one in enumerate(self.down):
                x = one(nn.functional.max_pool2d(x, 2) if number else x)
                skips.append(x)
            for wide, up, skip in zip(self.wide, self.up, skips[-2::-1], strict=True):
                x = up(torch.cat([wide(x), skip], 1))
            return self.head(x)

    network = UNet(tuple(arguments.widths))
    shape = (arguments.images, arguments.size, arguments.size)
    data = [(torch.randn(shape[0], 3, *shape[1:]), torch.randint(0, 2, shape)) for _ in range(2)]
    entropy, buffers = nn.CrossEntropyLoss(), dict(network.named_buffers())

    def gradient(first_order):
        theta = dict(network.named_parameters())
        loss = entropy(functional_call(network, (theta, buffers), (data[0][0],)), data[0][1])
        inner = torch.autograd.grad(loss, list(theta.values()), create_graph=not first_order)
        phi = {name: one - 0.01 * slope for (name, one), slope in zip(theta.items(), inner, strict=True)}
        value = entropy(functional_call(network, (phi, buffers), (data[1][0],)), data[1][1])
        return torch.autograd.grad(value, list(theta.values()))

    return {"second order": lambda: gradient(False), "first order": lambda: gradient(True)}


def serve(make, arguments):
    """Answer each line on the standard input, the name of an order, with wall and processor seconds of a gradient."""
    sides = make(arguments)
    for side in sides.values():
        side()
        side()
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter(), time.process_time()
        sides[line.strip()]()
        print(json.dumps([time.perf_counter() - begun[0], time.process_time() - begun[1]]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--peer", default="", help="an interpreter that has PyTorch; without, tfmed alone is timed")
    parser.add_argument("--serve", choices=("tfmed", "torch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve({"tfmed": ours, "torch": theirs}[arguments.serve], arguments)
    interpreters = {"tfmed": sys.executable} | ({"torch": arguments.peer} if arguments.peer else {})
    words = [word for word in sys.argv[1:] if word != "--peer" and word != arguments.peer]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    sides = {name: subprocess.Popen([python, __file__, "--serve", name, *words], stdin=subprocess.PIPE, text=True,
                                    stdout=subprocess.PIPE, env=environment | {"PYTHONPATH": os.getcwd()})
             for name, python in interpreters.items()}  # fmt: skip
    for side in sides.values():
        assert side.stdout.readline().strip() == "ready"
    print("| gradient | side | wall, ms | processor, ms | wall, PyTorch / tfmed |\n|---|---|---|---|---|")
    for order in ("second order", "first order"):
        times = {name: [] for name in sides}
        for _ in range(arguments.rounds):
            for name, side in sides.items():
                side.stdin.write(f"{order}\n")
                side.stdin.flush()
                times[name].append(json.loads(side.stdout.readline()))
        for name, found in times.items():
            wall, processor = ([1e3 * one[k] for one in found] for k in (0, 1))
            ratio = ""
            if name == "torch":
                ratios = [b[0] / a[0] for a, b in zip(times["tfmed"], found, strict=True)]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
            print(f"| {order} | {name} | {statistics.median(wall):.0f} ({min(wall):.0f} - {max(wall):.0f}) | "
                  f"{statistics.median(processor):.0f} | {ratio} |")  # fmt: skip
    for side in sides.values():
        side.stdin.close()
        side.wait()


if __name__ == "__main__":
    main()
