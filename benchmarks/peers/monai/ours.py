"""tfmed's sides, and those of the packages that it stands on (imgaug, SimpleITK): they share its Python."""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import importlib.metadata
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import SimpleITK as sitk
import tensorflow as tf

from benchmarks.peers.monai.inputs import (
    IMAGE,
    MASK_SPACING,
    NEW_SPACING,
    OVERLAP,
    POLICIES,
    SCALE,
    SPACING,
    TURN,
    WINDOW,
)
from benchmarks.peers.monai.unet import basic_unet
from benchmarks.support.processes import serve
from benchmarks.support.weights import set_weights
from tfmed.augment import intensity
from tfmed.augment.paired import sample_grid
from tfmed.compat import import_imgaug
from tfmed.data.cache import Cache
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Resample
from tfmed.data.sampling import generator, shuffled
from tfmed.io import Volume, write_volume
from tfmed.methods import pix2pix_bridge
from tfmed.methods.pix2pix_bridge import Translator
from tfmed.metrics.generative import frechet_distance
from tfmed.metrics.ms_ssim import ms_ssim
from tfmed.metrics.surface import distances
from tfmed.nn.adam import Adam
from tfmed.ops.sliding_window import sliding_window
from tfmed.ops.warp import warp_array

THREADS = 2


# --- augmentation -----------------------------------------------------------------------------------------------------


def augmentation(task, samples):
    """A grid drawn from the sample's seed moves image and label."""

    def setup(inputs, folder):
        image, label, policy = inputs["image"], inputs["label"], POLICIES[task]

        def moved(grid):
            return warp_array(image, grid), warp_array(label, grid, order=0)

        def run(number):
            for sample in range(samples):
                moved(sample_grid(number * samples + sample, image.shape[:-1], policy))

        return run, lambda: dict(zip(("image", "label"), moved(inputs["grid"]), strict=True)), samples

    return setup


def imgaug_both(inputs, folder):
    """imgaug moves the image and the segmentation map by itself, one after the other."""
    imgaug = import_imgaug()
    chain = imgaug_chain(imgaug)
    image = inputs["image"]
    label = imgaug.augmentables.segmaps.SegmentationMapsOnImage(inputs["label"].astype(np.int32), image.shape)

    def run(number):
        for _ in range(10):
            chain(image=image, segmentation_maps=label)

    return run, dict, 10


def imgaug_grid(inputs, folder):
    """imgaug moves one image of coordinates, and tfmed reads image and label there."""
    chain = imgaug_chain(import_imgaug(), "edge", "nearest")
    image, label = inputs["image"], inputs["label"]
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in image.shape[:-1]), indexing="ij")
    places = np.stack(axes, -1)

    def run(number):
        for _ in range(10):
            grid = chain(image=places.copy())
            warp_array(image, grid)
            warp_array(label, grid, order=0)

    return run, dict, 10


def imgaug_chain(imgaug, affine_mode="constant", elastic_mode="constant"):
    augmenters = imgaug.augmenters
    affine = augmenters.Affine(rotate=(-TURN, TURN), scale=(1 - SCALE, 1 + SCALE), order=1, mode=affine_mode)
    return augmenters.Sequential(
        [affine, augmenters.ElasticTransformation(IMAGE.alpha, IMAGE.sigma, 1, mode=elastic_mode)]
    )


# --- resampling -------------------------------------------------------------------------------------------------------


def resample(inputs, folder):
    """The preprocessing step."""
    volume = Volume(inputs["volume"], np.diag([*SPACING[::-1], 1.0]))
    step = Resample(spacing_mm=NEW_SPACING)

    def results():
        found = step.apply(volume)
        return {"volume": found.array, "affine": found.affine}

    return lambda number: [step.apply(volume) for _ in range(5)], results, 5


def resample_simpleitk(inputs, folder):
    """SimpleITK alone, from array to array, on the grid that tfmed's step chooses."""
    size = [102, 102, 128]
    spacing = [n * s / m for n, s, m in zip((192, 192, 64), SPACING[::-1], size, strict=True)]
    origin = [(new - old) / 2 for new, old in zip(spacing, SPACING[::-1], strict=True)]

    def once():
        image = sitk.GetImageFromArray(inputs["volume"])
        image.SetSpacing(SPACING[::-1])
        return sitk.GetArrayFromImage(sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, origin, spacing))

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return lambda number: [once() for _ in range(5)], lambda: {"volume": once(), "affine": affine}, 5


# --- networks ---------------------------------------------------------------------------------------------------------


def train_step(inputs, folder):
    """Cross-entropy, gradients, Adam, on one patch."""
    network = basic_unet()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = Adam(1e-3, epsilon=1e-8)
    image, label = tf.constant(inputs["image"]), tf.constant(inputs["label"])

    @tf.function
    def step(image, label):
        with tf.GradientTape() as tape:
            value = loss(label, network(image, training=True))
        weights = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
        return value

    def results():
        set_weights(network, folder / "weights.npz")
        logits = network(image, training=False).numpy()
        losses = [float(step(image, label)) for _ in range(4)]
        return {"logits": logits, "losses": np.array(losses), "parameters": np.array(network.count_params())}

    return lambda number: float(step(image, label)), results, 1


def windows(inputs, folder):
    """Windows over a volume, one at a time."""
    network = basic_unet()
    set_weights(network, folder / "weights.npz")
    predict = tf.function(lambda x: network(x, training=False), jit_compile=False)

    def run(number=0):
        return sliding_window(lambda x: predict(tf.constant(x)), inputs["volume"], WINDOW, OVERLAP, "gaussian")

    return run, lambda: {"blend": run()}, 1


def translator():
    """pix2pix at its published widths, for 256 x 256, without dropout (so that both sides compute the same)."""
    config = pix2pix_bridge.Config(unpaired_critic=False, paired_critic=True, anchor_weight=100.0, downs=8, size=256,
                                   dropout=0.0)  # fmt: skip
    return Translator(config, per_step=1)


def pix2pix_step(inputs, folder):
    """A critic's and a generator's update on one pair."""
    model = translator()
    batch = {name: tf.constant(inputs[name]) for name in ("mr", "mrcat")} | {"index": tf.zeros(1, tf.int64)}
    train = tf.function(model.train_step)

    def step():
        for meter in model.metrics:
            meter.reset_state()
        return sum(float(value) for value in train(batch).values())

    def results():
        set_weights(model.generator, folder / "generator.npz")
        set_weights(model.paired_critic, folder / "critic.npz")
        pair = tf.concat([batch["mr"], batch["mrcat"]], -1)
        image, logits = model.generator(batch["mr"]).numpy(), model.paired_critic(pair).numpy()
        parameters = model.generator.count_params() + model.paired_critic.count_params()
        losses = [step() for _ in range(4)]
        return {"image": image, "logits": logits, "losses": np.array(losses), "parameters": np.array(parameters)}

    return lambda number: step(), results, 1


def pix2pix_volume(inputs, folder):
    """All slices of a volume, one at a time."""
    model = translator()
    set_weights(model.generator, folder / "generator.npz")
    return (
        lambda number: model.translated(inputs["volume"]).numpy(),
        lambda: {"volume": model.translated(inputs["volume"]).numpy()},
        len(inputs["volume"]),
    )


# --- metrics and data -------------------------------------------------------------------------------------------------


def surface(inputs, folder):
    """HD95 and ASSD of one pair of masks."""
    prediction, reference = inputs["prediction"], inputs["reference"]

    def results():
        found = distances(prediction, reference, MASK_SPACING)
        return {"hd95_max": found.hd95_max, "msd": found.msd, "hd": found.hd, "asd": found.asd,
                "hd95": found.hd95, "assd": found.assd}  # fmt: skip

    def run(number):
        for _ in range(5):
            found = distances(prediction, reference, MASK_SPACING)
            found.hd95, found.assd  # noqa: B018

    return run, results, 5


def frechet(inputs, folder):
    """Of two sets of features."""
    run = lambda number=0: frechet_distance(inputs["features"], inputs["reference"])  # noqa: E731
    return run, lambda: {"distance": np.array(run())}, 1


def structural(inputs, folder):
    """MS-SSIM of pairs of volumes."""
    run = lambda number=0: ms_ssim(inputs["image"], inputs["noisy"], scales=3)  # noqa: E731
    return run, lambda: {"similarity": run()}, len(inputs["image"])


def epoch(inputs, folder):
    """Five epochs of crops, flipped and with noise, from memory maps."""
    cache = Cache(folder / "cache", ())
    files = [write_one(folder, number) for number in range(int(inputs["count"]))]
    for file in files:
        cache.get(str(file))

    def read(index):
        draw = generator(7, index)
        volume = cache.get(str(files[shuffled(7, index, len(files))])).array
        corner = [int(draw.integers(n - 64, endpoint=True)) for n in volume.shape]
        patch = volume[tuple(slice(c, c + 64) for c in corner)]
        patch = patch[tuple(slice(None, None, -1 if flip else 1) for flip in draw.random(3) < 0.5)]
        return {"image": patch[..., None]}

    samples = Samples(read, {"image": ((64, 64, 64, 1), "float32")}, per_step=2)
    steps = 5 * len(files) // 2

    def noisy(batch):
        return batch | {"image": intensity.noise(batch["image"], batch["index"], (0.1, 0.1))}

    def run(number):
        for batch in samples.batches(number * steps, (number + 1) * steps).map(noisy):
            batch["image"].numpy()

    return run, lambda: {"patch": next(iter(samples.batches()))["image"].numpy()}, 5


def write_one(folder, number):
    path = folder / f"volume-{number:02d}.nii"
    write_volume(Volume(np.load(folder / f"image-{number:02d}.npy", allow_pickle=False), np.eye(4)), path)
    return path


SIDES = {
    "elastic2d": augmentation("elastic2d", 10),
    "elastic3d": augmentation("elastic3d", 3),
    "affine3d": augmentation("affine3d", 3),
    "imgaug-both": imgaug_both,
    "imgaug-grid": imgaug_grid,
    "resample": resample,
    "resample-simpleitk": resample_simpleitk,
    "train_step": train_step,
    "windows": windows,
    "pix2pix_step": pix2pix_step,
    "pix2pix_volume": pix2pix_volume,
    "surface": surface,
    "epoch": epoch,
    "frechet": frechet,
    "ms_ssim": structural,
}

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    cv2.setNumThreads(THREADS)
    packages = ("tensorflow", "keras", "numpy", "imgaug", "SimpleITK")
    serve(SIDES, {"Python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages})
