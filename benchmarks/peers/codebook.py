"""Codebook: nearest codes, replaced features and the moved codes, beside a layer in PyTorch: 64 x 64 x 64, 32 codes.

Run: python -m benchmarks.peers.codebook --peer PYTHON [--rounds 15]

PYTHON has torch. Features `(1, 64, 64, 64)`, which is 4,096 vectors of 64, and a batch of 64 of them, 262,144 vectors,
of which the same number of codes are looked up. The layer in PyTorch is written as usual: distances by a product of
matrices, argmin, one_hot, moving averages in buffers; rows of features are contiguous on both sides. A step finds the
codes, replaces the features by them (gradients pass straight through) and moves the codes. Compared are the numbers of
the codes, and the codes after four steps.
"""

import numpy as np

from benchmarks.support.pairs import main, near

CODES, SIZE, DECAY, EPSILON = 32, 64, 0.98, 1e-5
STEPS = 10  # in a round


def inputs(batch):
    """Features about 32 centres, and the first codes."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CODES, SIZE))
    features = centres[draw.integers(CODES, size=(batch, 64, 64))] + 0.5 * draw.normal(size=(batch, 64, 64, SIZE))
    return {"features": features.astype(np.float32), "codes": draw.normal(size=(CODES, SIZE)).astype(np.float32)}


def ours(given, folder):
    """A graph of the layer's parts, as a training step has them."""
    import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
    import tensorflow as tf

    from tfmed.nn.quantize import Codebook, straight_through

    book = Codebook((CODES,), SIZE, decay=DECAY, epsilon=EPSILON)
    features = tf.constant(given["features"])

    def start():
        for variable, value in ((book.codes, given["codes"]), (book.sums, given["codes"])):
            variable.assign(value)
        book.counts.assign(np.ones(CODES, np.float32))

    @tf.function(autograph=False)
    def step(features):
        (numbers,) = book.nearest(features)
        made = straight_through(features, book.look_up(numbers))
        book.follow(features, numbers)
        return numbers, made

    def results():
        start()
        numbers, made = step(features)
        for _ in range(3):
            step(features)
        return {"numbers": numbers.numpy(), "made": made.numpy()[:1], "codes": book.codes.numpy()}

    def run(number):
        for _ in range(STEPS):
            made = step(features)[1]
        made[0, 0, 0, 0].numpy()

    return run, results, STEPS


def theirs(given, folder):
    """PyTorch's."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Layer(nn.Module):
        def __init__(self, codes):
            super().__init__()
            self.register_buffer("codes", codes.clone())
            self.register_buffer("sums", codes.clone())
            self.register_buffer("counts", torch.ones(CODES))

        def forward(self, x):
            flat = x.reshape(-1, SIZE)
            distances = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.codes.t() + self.codes.pow(2).sum(1)
            numbers = distances.argmin(1)
            chose = functional.one_hot(numbers, CODES).to(flat.dtype)
            made = (chose @ self.codes).view_as(x)
            made = x + (made - x).detach()
            with torch.no_grad():
                self.counts.mul_(DECAY).add_(chose.sum(0), alpha=1 - DECAY)
                self.sums.mul_(DECAY).add_(chose.t() @ flat, alpha=1 - DECAY)
                every = self.counts.sum()
                smoothed = (self.counts + EPSILON) / (every + CODES * EPSILON) * every
                self.codes.copy_(self.sums / smoothed[:, None])
            return numbers.view(x.shape[:-1]), made

    layer, features = Layer(torch.from_numpy(given["codes"])), torch.from_numpy(given["features"])

    def results():
        numbers, made = layer(features)
        for _ in range(3):
            layer(features)
        return {"numbers": numbers.numpy(), "made": made.numpy()[:1], "codes": layer.codes.numpy()}

    def run(number):
        for _ in range(STEPS):
            layer(features)

    return run, results, STEPS


def check(given, found):
    """The same numbers, but for features that lie between two codes; the same codes."""
    ours, theirs = found["tfmed"], found["PyTorch"]
    alike = ours["numbers"] == theirs["numbers"]
    other = 1 - float(alike.mean())
    assert other < 1e-4, f"{other:.2%} of the features have other codes"
    mine, yours = (side["made"][alike[:1]] for side in (ours, theirs))
    return [f"numbers: {other:.4%} differ", near("codes after four steps", ours["codes"], theirs["codes"], 1e-3),
            near("features replaced by one code", mine, yours, 1e-4)]  # fmt: skip


CASES = {f"codebook, {batch} x 64 x 64 x 64": (lambda batch=batch: inputs(batch)) for batch in (1, 64)}
SIDES = {"tfmed": ours, "PyTorch": theirs}

if __name__ == "__main__":
    main(__doc__, CASES, SIDES, check, "PyTorch")
