"""Weights that one framework's network writes to a file and another's reads."""

import numpy as np


def written(net, file):
    """A PyTorch network; its weights are written to a file in the order of its layers."""
    np.savez(file, **{str(number): w.detach().numpy() for number, w in enumerate(net.parameters())})
    return net


def set_weights(network, file):
    """Give a Keras network the weights that the other side wrote, in the order of the layers.

    PyTorch has kernels as (out, in, z, y, x) and those of transposed convolutions as (in, out, z, y, x), of any number
    of axes, dense layers' (out, in); Keras has (z, y, x, in, out) and (z, y, x, out, in).
    """
    with np.load(file, allow_pickle=False) as stored:
        moved = [turned(stored[f"{number}"]) for number in range(len(stored))]
    weights = [tuple(w.shape) for w in network.trainable_variables]
    assert weights == [m.shape for m in moved], list(zip(weights, [m.shape for m in moved], strict=False))
    network.set_weights(moved)


def turned(array):
    """A kernel of PyTorch's as Keras has it; a vector as it is."""
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array
