"""What a SavedModel, or an ONNX file, of a segmenter holds."""

import functools

import tensorflow as tf

from tfmed.data import preprocess
from tfmed.engine.exporting import ExportModule
from tfmed.errors import RunError
from tfmed.nn import dropout
from tfmed.ops import grids
from tfmed.ops.slices import neighbours_as_channels
from tfmed.ops.sliding_window import window_graph


def window_probabilities(network, config, windows):
    """Class probabilities of windows `(n, z, y, x, channel)`; a 2-D network sees their slices, and their neighbours."""
    if len(config.patch) == 2:
        windows = neighbours_as_channels(windows, config.neighbours)
        shape = windows.shape
        windows = tf.reshape(windows, (-1, *shape[2:]))
    if config.mc_passes and dropout.active(network):  # without dropout every pass says the same
        found = dropout.mc_mean(network, windows, config.mc_passes)
    else:
        found = tf.nn.softmax(tf.cast(network(windows, training=False), tf.float32))
    return tf.reshape(found, (-1, *shape[1:-1], config.classes)) if len(config.patch) == 2 else found


def exported(method):
    """What a SavedModel of a segmenter holds: preprocessing, windows, blending, classes; any volume size.

    Signatures take `image` `(z, y, x, channel)` float32, as it is before the steps that the graph does (see the note
    beside the model), and, if one of these moves voxels, `affine` `(4, 4)` float64, from voxels (x, y, z, 1) to mm:
    "serving_default" gives `labels` `(z, y, x)` int32, the numbers of `label_values`; "probabilities" gives
    `probabilities` `(z, y, x, class)` float32; both on the image's own grid.
    """
    config, classes_of = method.config, functools.partial(numbers_of_classes, threshold=method.threshold)
    outside, inside = preprocess.split_for_graph(method.preprocessing())
    moves = any(hasattr(step, "graph_grid") for step in inside)
    blended, labelled = method.volume_graphs()
    drops = dropout.layers(method.network)

    def start(image, affine):
        """The Grid that the network sees."""
        for drop in drops:
            drop.calls.assign(0)
        return preprocess.run_in_graph(inside, grids.of_image(image, affine))

    def stored(classes):
        return {"labels": tf.gather(tf.constant(config.label_values, tf.int32), tf.cast(classes, tf.int32))}

    def labels(image):
        return stored(labelled(start(image, tf.eye(4)).image))

    def probabilities(image):
        return {"probabilities": blended(start(image, tf.eye(4)).image)}

    def labels_there(image, affine):
        grid = start(image, affine)
        return stored(grids.brought_back(grid, blended(grid.image), classes_of, tf.uint8))

    def probabilities_there(image, affine):
        grid = start(image, affine)
        return {"probabilities": grids.brought_back(grid, blended(grid.image), tf.identity, tf.float32)}

    takes = [tf.TensorSpec((None, None, None, len(config.modalities)), tf.float32, "image")]
    calls = {"serving_default": (labels, takes), "probabilities": (probabilities, takes)}
    if moves:
        takes = [*takes, tf.TensorSpec((4, 4), tf.float64, "affine")]
        calls = {"serving_default": (labels_there, takes), "probabilities": (probabilities_there, takes)}
    said = note(config, outside, inside, method.single, method.trained_on, method.threshold)
    return ExportModule([method.network], calls, said)


def blended_windows(method):
    """(prepared image -> probabilities, prepared image -> class numbers), functions of tensors that blend windows."""
    classes_of = functools.partial(numbers_of_classes, threshold=method.threshold)
    return window_blender(method), window_blender(method, finish=classes_of)


def window_blender(method, **options):
    """Function of a prepared image, a tensor: `window_graph` with the windows that predictions have."""
    windows = method._windows()
    whole = window_graph(method.of_windows, **windows, **options)
    if len(method.config.patch) == 3:
        return whole
    few = window_graph(method.of_windows, **one_slice_at_a_time(windows), **options)
    return lambda image: tf.cond(tf.shape(image)[0] < windows["window"][0], lambda: few(image), lambda: whole(image))


def one_slice_at_a_time(windows):
    """Options of windows of several slices (z, y, x), for images that have fewer: nothing is computed in vain."""
    return windows | {"window": (1, *windows["window"][1:])}


def numbers_of_classes(planes, threshold=None):
    """Probabilities `(..., class)` -> the number of the most probable class, or of two as a threshold says, uint8."""
    if threshold is not None:
        return tf.cast(planes[..., 1] >= threshold, tf.uint8)
    return tf.cast(tf.argmax(planes, -1), tf.uint8)


def note(config, outside, inside, single, trained_on=None, threshold=None):
    """What `tfmed.json` says of a segmenter: what its signatures take and give, and what stays outside of them."""
    image = "float32 (z, y, x, channel): " + ", ".join(config.modalities)
    image += "; as in the file, in HU for CT" if not outside else "; after `steps`, which are not part of the model"
    inputs = {"image": image}
    if any(hasattr(step, "graph_grid") for step in inside):
        inputs["affine"] = "float64 (4, 4): voxels (x, y, z, 1) of the image -> mm, towards right, anterior, superior"
    return {
        "task": "segmentation",
        "modalities": list(config.modalities),
        "label_values": list(config.label_values),
        "names": {str(number): name for number, name in config.class_names.items()},
        "signatures": {
            "serving_default": {"inputs": inputs, "labels": "int32 (z, y, x), on the image's grid: `label_values`"},
            "probabilities": {
                "inputs": inputs,
                "probabilities": "float32 (z, y, x, class), on the image's grid, in the order of `label_values`",
            },
        },
        "trained_on": None if trained_on is None else trained_on.as_note(),
        "steps": [step.model_dump(mode="json") for step in outside],
        "steps_inside": [step.model_dump(mode="json") for step in inside],
        "threshold": threshold,
        "threshold_means": "probability from which a voxel is of the second class; null: the most probable one counts",
        "single": list(single),
        "single_means": "classes of whose labels only the largest connected part (6 neighbours) is to be kept",
    }


def onnx_function(method):
    """(tf.function of prepared patches, what a user must know of it)."""
    config, network = method.config, method.network
    if config.mc_passes and dropout.active(network):
        raise RunError("model.mc_passes: Monte Carlo dropout has no counterpart in ONNX; use the SavedModel")
    spec = tf.TensorSpec((None, *config.patch, config.channels), tf.float32, "image")

    @tf.function(input_signature=[spec], autograph=False)
    def probabilities(image):
        return {"probabilities": tf.nn.softmax(tf.cast(network(image, training=False), tf.float32))}

    said = note(config, method.preprocessing(), [], method.single, method.trained_on, method.threshold)
    said.pop("signatures")
    return probabilities, said | {"axes": "(n, z, y, x, channel)" if len(config.patch) == 3 else "(n, y, x, channel)"}
