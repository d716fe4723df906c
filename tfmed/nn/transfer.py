"""Weights of a trained network as the start of another."""

import keras

from tfmed.compat import tensor_variable


def start_from(network: keras.Model, trained: keras.Model, head: int = 2) -> int:
    """Give a network the weights of a trained one of the same layers, where their shapes are alike.

    Args:
        network: is changed.
        trained: has the same layers in the same order; the first and the last may be of other widths.
        head: how many of the last trainable weights stay as they are: kernel and bias of the layer that names classes.

    Returns:
        The number of weights (tensors) that were given.

    Raises:
        ValueError: the networks have other layers.
    """
    if len(network.weights) != len(trained.weights):
        raise ValueError(f"networks of {len(network.weights)} and {len(trained.weights)} weights: give the same layers")
    last = {id(tensor_variable(v)) for v in network.trainable_variables[len(network.trainable_variables) - head :]}
    given = 0
    for target, source in zip(network.weights, trained.weights, strict=True):
        if tuple(target.shape) == tuple(source.shape) and id(tensor_variable(target)) not in last:
            target.assign(tensor_variable(source).numpy())
            given += 1
    return given
