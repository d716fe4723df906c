"""Where a run computes: `train.strategy` -> `tf.distribute`."""

import contextlib
import json
import os

import tensorflow as tf

from tfmed.errors import ConfigError


def strategy(train):
    """The distribution strategy that the `train` section asks for; call it before any other TensorFlow operation.

    Raises:
        ConfigError: the batch cannot be shared evenly, or TF_CONFIG is missing or malformed.
    """
    chosen = _choose(train)
    count = chosen.num_replicas_in_sync
    if train.batch_size % (count * train.gradient_accumulation):
        raise ConfigError(
            f"train.batch_size: {train.batch_size} cannot be shared by {count} replicas x gradient_accumulation "
            f"{train.gradient_accumulation}; choose a multiple of {count * train.gradient_accumulation}"
        )
    return chosen


def _choose(train):
    if train.strategy == "multiworker":
        _check_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # only possible before the first operation
            tf.config.experimental.set_memory_growth(gpu, True)
    if train.strategy == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0") if gpus else tf.distribute.get_strategy()
    if train.strategy == "mirrored" and not gpus:
        # Collectives of several strategies in one process mix their keys up; adding on one device cannot.
        return tf.distribute.MirroredStrategy(_logical_cpus(train.replicas or 1), tf.distribute.ReductionToOneDevice())
    if train.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _logical_cpus(count):
    """Devices for `count` replicas without GPUs: slower than one, but the arithmetic is that of many GPUs."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:  # TensorFlow has started; that is fine when it has enough of them
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ConfigError(
                f"train.replicas: {count} CPU replicas must be set up before TensorFlow starts; use a fresh process"
            ) from None
    return [f"CPU:{i}" for i in range(count)]


def _check_tf_config():
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "null")
        workers = config["cluster"]["worker"]
        index = config["task"]["index"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            'train.strategy: multiworker needs TF_CONFIG, for example {"cluster": {"worker": ["a:2222", "b:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from None
    if not 0 <= index < len(workers):
        raise ConfigError(f"TF_CONFIG: task index {index} is not one of the {len(workers)} workers; fix it")


def worker(chosen):
    """(index, count) of this process among the machines of a run."""
    resolver = getattr(chosen, "cluster_resolver", None)
    if isinstance(chosen, tf.distribute.MultiWorkerMirroredStrategy) and resolver is not None and resolver.task_type:
        return resolver.task_id, len(resolver.cluster_spec().as_dict()["worker"])
    return 0, 1
