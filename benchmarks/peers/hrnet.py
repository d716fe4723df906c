"""A training step of HRNet-W18 against the same network in PyTorch: 4 images of 256 x 256, 12 maps.

Run: python -m benchmarks.peers.hrnet --peer PYTHON [--rounds 7]

PYTHON has torch. A step is forward, the sigmoid cross-entropy of maps, the gradient, and Adam. The same weights are
compared by their maps in training and by the losses of four steps.
"""

import numpy as np

from benchmarks.support.pairs import main, near
from benchmarks.support.weights import turned

WIDTHS, MODULES, BLOCKS, MAPS = (18, 36, 72, 144), (1, 4, 3), 4, 12
RATE, EPSILON = 1e-4, 1e-7  # of Adam


def inputs():
    """Noise, and blobs at random places as targets."""
    draw = np.random.default_rng(0)
    images = draw.normal(size=(4, 256, 256, 3)).astype(np.float32)
    axis, places = np.arange(256), draw.uniform(30, 226, (2, 4, MAPS))
    y, x = (np.exp(-(((axis[:, None] - one[:, None]) / 8) ** 2)) for one in places)
    return {"images": images, "targets": np.einsum("nyk,nxk->nyxk", y, x).astype(np.float32)}


def ours(given, folder):
    """tfmed's network, with Adam as its trainings have it."""
    import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
    import tensorflow as tf

    from tfmed.compat import layers_within
    from tfmed.nn.adam import Adam
    from tfmed.nn.hrnet import hrnet_maps

    network = hrnet_maps(3, MAPS, (256, 256), WIDTHS, MODULES, BLOCKS)
    with np.load(folder / "weights.npz") as stored:
        for layer in layers_within(network):
            if f"{layer.name}.weight" in stored:
                names = [f"{layer.name}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
                layer.set_weights([turned(stored[name]) for name in names if name in stored])
    optimizer, weights = Adam(RATE, epsilon=EPSILON), network.trainable_variables
    images, targets = tf.constant(given["images"]), tf.constant(given["targets"])

    @tf.function(autograph=False)
    def step(images, targets):
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            value = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
        return value, logits

    def results():
        found = [step(images, targets) for _ in range(4)]
        return {"maps": found[0][1].numpy(), "losses": np.array([float(value) for value, _ in found]),
                "parameters": np.array(sum(np.prod(w.shape) for w in weights))}  # fmt: skip

    return lambda number: float(step(images, targets)[0]), results, 1


def theirs(given, folder):
    """PyTorch's."""
    import torch

    from benchmarks.support.hrnet_torch import HRNet

    torch.manual_seed(0)
    network = HRNet(3, MAPS, WIDTHS, MODULES, BLOCKS)
    np.savez(folder / "weights.npz", **{name.removeprefix("layers."): w.numpy()
                                        for name, w in network.state_dict().items()})  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), RATE, eps=EPSILON)
    images, targets = (torch.from_numpy(np.moveaxis(given[name], -1, 1).copy()) for name in ("images", "targets"))

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = network(images)
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        value.backward()
        optimizer.step()
        return float(value), logits

    def results():
        found = [step() for _ in range(4)]
        return {"maps": np.moveaxis(found[0][1].detach().numpy(), 1, -1),
                "losses": np.array([value for value, _ in found]),
                "parameters": np.array(sum(w.numel() for w in network.parameters()))}  # fmt: skip

    return lambda number: step()[0], results, 1


def check(given, found):
    """As many weights, equal maps, losses that stay together."""
    ours, theirs = found["tfmed"], found["PyTorch"]
    assert ours["parameters"] == theirs["parameters"], (ours["parameters"], theirs["parameters"])
    return [f"weights: {int(ours['parameters']):,} on both sides",
            near("maps", ours["maps"], theirs["maps"], 1e-3),
            near("losses of four steps, ratio", ours["losses"] / theirs["losses"], 1.0, 0.02)]  # fmt: skip


SIDES = {"tfmed": ours, "PyTorch": theirs}

if __name__ == "__main__":
    main(__doc__, {"HRNet-W18 step, 4 x 256 x 256": inputs}, SIDES, check, "PyTorch")
