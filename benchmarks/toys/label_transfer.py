"""Label transfer on bright blobs: do labels from another visit help where noise hides cells?

Run: python -m benchmarks.toys.label_transfer --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

Pictures of 112 x 112 pixels with some 49 bright blobs, 16 px apart, at two visits: shifted by up to 5 px, each blob
moved a little. Patches over 30 % of the blobs, others at each visit, have less contrast, blur and noise. 12 pictures
without such patches are labelled; 16 pairs with them are not; 16 pictures with them are tested, one at a time. Every
arm trains the same network by as many steps; the first stage is the same for all. Prints mean Dice of the tested blobs
under patches and of the others, and the share of either that nothing overlaps, after each stage. "self-training" learns
what the network itself found in the pairs: the control that the paper lacks. Repeat the command to go on where it was
broken off.
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np
from PIL import Image
from scipy import ndimage

from tfmed.metrics.instances import instance_scores

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "label_transfer.yaml"
SIDE, STEP, SHIFT = 112, 16, 5
COUNTS = {"clean": 12, "pair": 16, "test": 16}
SHARED = (
    "data.source=image_visits",
    "data.options={}",
    "data.split={given: false, validation: 0, test: 0}",
    "train.steps=200",
    "train.batch_size=4",
    "train.log_every=50",
    "train.validate_every=10000",
    "train.early_stopping=null",
    "train.preview_every=100000",
    "train.tensorboard=false",
    "train.schedule={kind: cosine}",
    "model.iterations=3",
    "model.iteration_steps=120",
    "model.patch=[64, 64]",
    "model.network={name: unet, widths: [8, 16, 32], norm: batch, upsample: transposed}",
    "model.disc_radius=2",
    "model.radius=12",
    "model.feature_window=8",
    "model.learning_rate=0.003",
)
ARMS = {
    "transfer": (),
    "self-training": ("model.transfer=none",),
    "transfer, median sizes": ("model.usual_size=median",),
    "one direction": ("model.transfer=second",),
}


def blobs(seed, visits, share):
    """[(picture uint8 `(y, x)`, instance map uint16, numbers of the blobs under patches)] of a specimen's visits."""
    rng = np.random.default_rng([seed, 19])
    y, x = np.mgrid[-2 : SIDE // STEP + 2, -2 : SIDE // STEP + 2].reshape(2, -1)
    centres = STEP * (np.stack([y, x + 0.5 * (y % 2)], 1) + rng.normal(0, 0.08, (len(y), 2)) + 0.5)
    radii, light = rng.uniform(5, 7, len(y)), rng.uniform(0.8, 1.2, len(y))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found = []
    for visit in range(visits):
        moved = centres + rng.normal(0, 0.4, centres.shape) + (visit > 0) * rng.uniform(-SHIFT, SHIFT, 2)
        away = np.hypot(rows[..., None] - moved[:, 0], columns[..., None] - moved[:, 1]) / radii
        nearest, depth = away.argmin(-1), away.min(-1)
        labels = np.where(depth <= 1, nearest + 1, 0)
        sizes = np.bincount(labels.ravel(), minlength=len(y) + 1)
        labels[sizes[labels] < 30] = 0  # crumbs at the border
        image = 60 + 110 * light[nearest] * np.clip(1.2 - depth**2, 0, 1)
        ill = np.flatnonzero(rng.random(len(y)) < share) + 1
        patch = ndimage.gaussian_filter((np.isin(nearest + 1, ill) & (depth < 1.25)).astype(float), 1)
        worse = 60 + 0.25 * (ndimage.gaussian_filter(image, 2) - 60) + 14 * rng.standard_normal(image.shape)
        image = ndimage.gaussian_filter(image, 0.7) * (1 - patch) + worse * patch + rng.normal(0, 5, image.shape)
        found.append((np.clip(image, 0, 255).astype("uint8"), labels.astype("uint16"), np.intersect1d(ill, labels)))
    return found


def write_toy(folder, seed):
    """images/ and labels/ of the clean pictures and the pairs, as the source takes them."""
    for k in range(COUNTS["clean"] + COUNTS["pair"]):
        clean = k < COUNTS["clean"]
        made = blobs(1000 * seed + k, 1 if clean else 2, 0.0 if clean else 0.3)
        for visit, (image, labels, _) in enumerate(made, 1):
            name = f"clean{k:02}" if clean else f"pair{k:02}_visit{visit}"
            for kind, array in (("images", image), ("labels", labels)):
                if kind == "images" or clean:
                    (folder / kind).mkdir(parents=True, exist_ok=True)
                    if not (folder / kind / f"{name}.png").exists():
                        Image.fromarray(array).save(folder / kind / f"{name}.png")


def scores(method, seed):
    """(Dice under patches, Dice of others, missed of both) over the test pictures."""
    dice, missed, ill = [], [], []
    (step,) = method.preprocessing()
    for k in range(COUNTS["test"]):
        ((image, labels, under),) = blobs(1000 * seed + 500 + k, 1, 0.3)
        found = instance_scores(method.labels(step.graph(np.float32(image)).numpy()), labels)
        dice.append(found.dice)
        missed.append(found.missed)
        ill.append(np.isin(found.reference, under))
    dice, missed, ill = map(np.concatenate, (dice, missed, ill))
    return dice[ill].mean(), dice[~ill].mean(), missed[ill].mean(), missed[~ill].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    columns = ("seed", "arm", "stage", "Dice, noisy", "Dice, clean", "missed, noisy", "missed, clean")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for seed in arguments.seeds:
        write_toy(arguments.out / f"cells-{seed}", seed)
        for arm in arguments.arms:
            root = f"data.root={arguments.out / f'cells-{seed}'}"
            words = (*SHARED, root, f"seed={seed}", *ARMS[arm], *arguments.overrides)
            path = arguments.out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
            method = tfmed.fit(CONFIG, path, resume=True, overrides=words).restored()
            for stage in method.models:
                found = " | ".join(f"{value:.3f}" for value in scores(method.at(stage), seed))
                print(f"| {seed} | {arm} | {stage} | {found} |", flush=True)


if __name__ == "__main__":
    main()
