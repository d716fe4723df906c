"""Gram and feature losses of VGG-16 with their gradient by the picture, beside PyTorch: 4 pictures of 224 x 224.

Run: python -m benchmarks.peers.vgg_losses --peer PYTHON [--rounds 7]

PYTHON has torch. Features of the first convolution of each block are compared with those of other pictures, which are
given: mean squared differences of features, and half of those of Gram matrices. Both sides have the same weights; their
losses must be the same, and gradients but for a hundredth of their norm.
"""

import numpy as np

from benchmarks.support.pairs import main, near
from benchmarks.support.weights import set_weights, written

BLOCKS = (2, 2, 3, 3, 1)  # convolutions up to the last one that is looked at
LAYERS = {f"block{i}_conv1": 1.0 for i in range(1, 6)}
MEANS = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red


def inputs():
    """Smooth pictures in [0, 1] with noise, and others that are wanted."""
    draw = np.random.default_rng(0)
    coarse = np.kron(draw.random((2, 4, 28, 28, 3)), np.ones((8, 8, 1)))
    images, wanted = (0.8 * coarse + 0.2 * draw.random(coarse.shape)).astype(np.float32)
    return {"images": images, "wanted": wanted}


def ours(given, folder):
    """A graph of the losses and of the gradient."""
    import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
    import tensorflow as tf

    from tfmed.losses.perceptual import FeatureNetwork, feature_loss, style_loss

    network = FeatureNetwork(LAYERS)
    network.model.trainable = True
    set_weights(network.model, folder / "weights.npz")
    network.model.trainable = False
    images, wanted = tf.constant(given["images"]), network(tf.constant(given["wanted"]))

    @tf.function(autograph=False)
    def losses(images, wanted):
        with tf.GradientTape() as tape:
            tape.watch(images)
            found = network(images)
            both = [tf.reduce_sum(loss(found, wanted, LAYERS)) for loss in (feature_loss, style_loss)]
            total = tf.add_n(both)
        return both, tape.gradient(total, images)

    def run(number):
        return losses(images, wanted)[1].numpy()

    def results():
        both, gradient = losses(images, wanted)
        return {"losses": np.array([float(one) for one in both]), "gradient": gradient.numpy()}

    return run, results, 1


def theirs(given, folder):
    """PyTorch's."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    widths = [64 * min(2**i, 8) for i in range(5) for _ in range(BLOCKS[i])]
    network = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip([3, *widths], widths, strict=False))
    for convolution in network:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    written(network, folder / "weights.npz")
    network.requires_grad_(False)
    means = torch.tensor(MEANS)[:, None, None]

    def features(images):
        x, found, left = 255 * images.flip(1) - means, [], iter(network)
        for i, count in enumerate(BLOCKS):
            x = functional.max_pool2d(x, 2) if i else x
            for j in range(count):
                x = functional.relu(next(left)(x))
                found += [x] if j == 0 else []
        return found

    def gram(maps):
        rows = maps.flatten(2)
        return rows @ rows.transpose(1, 2) / maps[0].numel()

    def first(array):
        return torch.from_numpy(np.moveaxis(array, -1, 1).copy())

    with torch.no_grad():
        wanted = features(first(given["wanted"]))
    images = first(given["images"]).requires_grad_()

    def losses():
        pairs = list(zip(features(images), wanted, strict=True))
        both = [sum((a - b).square().mean((1, 2, 3)).sum() for a, b in pairs),
                0.5 * sum((gram(a) - gram(b)).square().mean((1, 2)).sum() for a, b in pairs)]  # fmt: skip
        return both, torch.autograd.grad(sum(both), images)[0]

    def results():
        both, gradient = losses()
        return {"losses": np.array([float(one) for one in both]), "gradient": np.moveaxis(gradient.numpy(), 1, -1)}

    return lambda number: losses()[1].numpy(), results, 1


def check(given, found):
    """Losses, and gradients by the norm of their difference; single components differ by more."""
    ours, theirs = found["tfmed"], found["PyTorch"]
    norm = np.linalg.norm(theirs["gradient"].astype(np.float64))
    apart = np.linalg.norm((ours["gradient"] - theirs["gradient"]).astype(np.float64))
    shares = np.abs(ours["gradient"] - theirs["gradient"]) / np.abs(theirs["gradient"]).max()
    return [near("feature and style loss, ratio", ours["losses"] / theirs["losses"], 1.0, 1e-3),
            near("norm of the gradients' difference over the gradient's", apart / norm, 0.0, 1e-2),
            f"gradient's components over its largest: 99.9 % within {np.quantile(shares, 0.999):.1e}, all within "
            f"{shares.max():.1e}"]  # fmt: skip


SIDES = {"tfmed": ours, "PyTorch": theirs}

if __name__ == "__main__":
    main(__doc__, {"VGG-16 losses with gradient, 4 x 224 x 224": inputs}, SIDES, check, "PyTorch")
