"""GBDL on volumes whose truth is known: an ellipsoid, and a box of about the same brightness that must be left out.

Run: python -m benchmarks.toys.gbdl [--seeds 0 1 2] [--steps 600] [--methods NAME ...] [--out toy_gbdl.csv]

Of 24 volumes of 8 x 32 x 32 voxels 3 are labelled. Trains the same U-Net on 4 labelled volumes per step (supervised),
on 4 more without labels (mean_teacher, dtc, gbdl), and with all 24 labels (all labels). Of GBDL there are further rows:
without the divergence (gbdl_no_kl), with the released code's floor (floor_10), an image decoder with one skip or none
(skip, bottleneck), one encoder (shared), a latent model with dropout like the U-Net's (dropout), pseudo labels that
count less than labels and only after a ramp of 150 steps (ramp), both (dropout_ramp). Prints for each seed Dice and its
5th percentile over 60 test volumes, of GBDL also the Dice of its pseudo labels on the 21 volumes without labels, and
how far their logits move when z becomes 0, in units of their spread; the last lines are means.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from tfmed.augment.paired import sample_grid
from tfmed.data.distance import signed_distances
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import generator, shuffled
from tfmed.data.streams import Streams
from tfmed.methods.gbdl.method import FLIPPED, TURNED, Config, build_network
from tfmed.methods.gbdl.models import LatentLearner, Segmenter
from tfmed.metrics.segmentation import dice
from tfmed.ops.warp import warp_array
from tfmed.tasks.backbones import UNet
from tfmed.tasks.semi_supervised_baselines import LEARNERS
from tfmed.training.schedules import Schedule

SHAPE, VOLUMES, LABELLED, TEST = (8, 32, 32), 24, 3, 60
SHARED = dict(
    modalities=("mr",), label_values=(0, 1), regions={}, patch=SHAPE, labelled_batch=4,
    network=UNet(widths=(8, 16, 32), factors=(1, 2, 2), norm="instance", dropout=0.3),
    latent_widths=(8, 16, 32), latent_size=16, learning_rate=2e-3, latent_learning_rate=2e-3,
)  # fmt: skip
RAMP = {"architecture": {"name": "gbdl", "weight": 0.4, "rampup_steps": 150}}
METHODS = {
    "supervised": {"architecture": {"name": "supervised"}},
    "mean_teacher": {"architecture": {"name": "mean_teacher"}},
    "dtc": {"architecture": {"name": "dtc"}},
    "gbdl": {},
    "gbdl_no_kl": {"lambda_kl": 0.0},
    "floor_10": {"latent_floor": 10.0},
    "skip": {"image_skips": 1},
    "bottleneck": {"image_skips": 0},
    "shared": {"share_encoder": True},
    "shared_skip": {"share_encoder": True, "image_skips": 1},
    "shared_bottleneck": {"share_encoder": True, "image_skips": 0},
    "dropout": {"latent_dropout": 0.3},
    "ramp": RAMP,
    "dropout_ramp": {"latent_dropout": 0.3} | RAMP,
    "all labels": {"architecture": {"name": "supervised"}},
}


def toy_volume(seed):
    """(image `(*SHAPE, 1)` float32 standardised, labels uint8: 1 in the ellipsoid)."""
    rng = np.random.default_rng([seed, 83])
    places = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"), -1)
    side = rng.choice([-1, 1])
    inside = []
    for sign in (side, -side):
        angle = rng.uniform(0, np.pi)
        centre = [rng.uniform(-1, 1), rng.uniform(-6, 6), sign * rng.uniform(6, 8)]
        z, y, x = np.moveaxis(places - centre, -1, 0)
        u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        inside.append(np.abs([z / rng.uniform(2, 3.5), u / rng.uniform(4, 7), v / rng.uniform(3, 5)]))
    ellipsoid, box = (inside[0] ** 2).sum(0) < 1, inside[1].max(0) < 0.85
    waves = sum(np.cos(places @ rng.uniform(-0.4, 0.4, 3) + rng.uniform(0, 6)) for _ in range(4))
    image = 0.3 * waves + rng.normal(0, 0.5, SHAPE)
    image += rng.uniform(0.8, 1.6) * ellipsoid + rng.uniform(0.8, 1.6) * box
    return ((image - image.mean()) / image.std())[..., None].astype(np.float32), ellipsoid.astype(np.uint8)


def samples(seed, streams, labelled, with_distance):
    """Batches as the method makes them: flipped and turned volumes, with labels in the first stream."""
    volumes = [toy_volume(1000 * seed + k) for k in range(VOLUMES)]
    pools = {True: volumes[:labelled], False: volumes[labelled:]}

    def read(index):
        is_labelled, number = streams.place(index)
        pool = pools[is_labelled]
        image, label = pool[shuffled(2 * seed + is_labelled, number, len(pool))]
        drawn = generator(seed, index, 1).integers(2**31)
        grid = sample_grid(drawn, SHAPE, TURNED if drawn % 2 else FLIPPED)
        image = warp_array(image, grid, 1, 0.0)
        label = warp_array(label[..., None], grid, 0, 0)[..., 0] * is_labelled
        sample = {"image": image, "label": label}
        return sample | {"distance": signed_distances(label, 2)} if with_distance else sample

    spec = {"image": ((*SHAPE, 1), "float32"), "label": (SHAPE, "int32")}
    spec |= {"distance": ((*SHAPE, 1), "float32")} if with_distance else {}
    return Samples(read, spec, streams.per_step)


def train(name, seed, steps):
    """(segmenter, latent model or None) of a method, after `steps` of each of its stages."""
    config = Config(**SHARED, **METHODS[name])
    kind = config.architecture.name
    streams = Streams(4, 0 if kind == "supervised" else 4)
    with_distance = getattr(LEARNERS.get(kind), "wants_distance", False)
    batches = samples(seed, streams, VOLUMES if name == "all labels" else LABELLED, with_distance)
    keras.utils.set_random_seed(seed)

    def fit(learner, part="segmenter", **options):
        network = build_network(config, part, seed=seed)
        base = config.latent_learning_rate if part == "latent" else config.learning_rate
        model = learner(config, streams, network, Schedule(base, steps, "cosine"), seed=seed, **options)
        step = tf.function(model.train_step)
        for batch in batches.batches(0, steps):
            step(batch)
        return network

    if kind == "gbdl":
        latent = fit(LatentLearner, "latent")
        return fit(Segmenter, pseudo_labels=latent.pseudo_labels), latent
    if kind == "supervised":
        return fit(Segmenter), None
    twin = {"twin": build_network(config, seed=seed + 1)} if kind == "mean_teacher" else {}
    return fit(LEARNERS[kind], steps=steps, **twin), None


def scores(segment, volumes):
    """Dice of each of some (image, label)."""
    images, labels = map(np.stack, zip(*volumes, strict=True))
    segment = tf.function(segment)
    found = np.concatenate([segment(part).numpy() for part in np.array_split(images, 6)])
    return [dice(a == 1, b == 1) for a, b in zip(found, labels, strict=True)]


def pseudo_labels(latent, images):
    """What a latent model teaches, class numbers."""
    noise = tf.random.stateless_normal((len(images), 5, SHAPE[0], SHARED["latent_size"]), [0, 1])
    return tf.argmax(latent.pseudo_labels(images, noise), -1)


def weight_of_latent(latent, images):
    """How far the logits move when the posterior's mean becomes 0, in units of their own spread."""
    features = latent.x_encoder(images)
    guide, mean = latent.guide(images, features), latent.posterior(features[-1])[0]
    with_z, without = (latent.segment(guide, features, z).numpy() for z in (mean, tf.zeros_like(mean)))
    return np.std(with_z - without) / np.std(with_z)


def trained_and_scored(seed, name, steps):
    """All scores of a method."""
    network, latent = train(name, seed, steps)
    tests = [toy_volume(900_000 + k) for k in range(TEST)]
    tested = scores(lambda x: tf.argmax(network(x, training=False), -1), tests)
    own = np.mean(tested), np.percentile(tested, 5)
    if latent is None:
        return *own, np.nan, np.nan
    unlabelled = [toy_volume(1000 * seed + k) for k in range(LABELLED, VOLUMES)]
    taught = scores(lambda x: pseudo_labels(latent, x), unlabelled)
    return *own, np.mean(taught), weight_of_latent(latent, np.stack([image for image, _ in unlabelled]))


COLUMNS = ("Dice", "5th percentile", "Dice of pseudo labels", "weight of z")
if __name__ == "__main__":
    tables.make(__doc__, METHODS, 600, "toy_gbdl.csv", COLUMNS, 3, trained_and_scored)
