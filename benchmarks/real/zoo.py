"""The four GANs of Table 4 on real images, chest radiographs or breast ultrasound, judged as in the paper.

Run: python -m benchmarks.real.zoo FOLDER --out DIR [--only dcgan ...] [--steps 500] [--runs 5] [key=value ...]

FOLDER holds `pneumoniamnist_subset.npz` (28 x 28 radiographs; its own test images) or BUSI's `labels.csv`, `images` and
`extra_images` (a third is tested). Images are stretched to 40 x 40, half of the paper's: networks have one block less
and a quarter of the channels; all learn at a rate of 0.0002. Otherwise trains with the settings of each GAN, then is
`tfmed evaluate --compare` on the runs: the table, its pictures and the report are in DIR/<first GAN>. Repeat the
command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np
from PIL import Image

from tfmed import cli, evaluate

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "gan_eval"
GANS = {"dcgan": "../gan_eval.yaml", "lsgan": "lsgan.yaml", "wgan_gp": "wgan_gp.yaml", "acgan": "acgan.yaml"}
SHARED = (
    "data.source=image_folder",
    "data.preprocess=[{step: resample, shape: [1, 40, 40]}]",
    "train.batch_size=32",
    "train.log_every=50",
    "train.preview_every=200",
    "train.tensorboard=false",
    "model.image=image",
    "model.size=40",
    "model.window=[0, 255]",
    "model.learning_rate_generator=0.0002",
    "model.learning_rate_critic=0.0002",
    "model.evaluator_channels=[8, 16, 32]",
    "model.evaluator_features=32",
    "model.evaluator_batch=32",
    "model.most_neighbours=100",
)


def unpack_radiographs(file, folder):
    """Images as `folder/train|test/<class>/<number>.png`; what tells of them: settings."""
    with np.load(file, allow_pickle=False) as stored:
        for part in ("train", "test"):
            images, labels = stored[f"{part}_images"], stored[f"{part}_labels"]
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                path = folder / part / ("normal", "pneumonia")[int(label)] / f"{part}{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return "data.split={given: true, validation: 0, test: 0}", "model.classes=[normal, pneumonia]"


def unpacked(source, folder):
    """Images of either data set below `folder`; what tells of them: settings."""
    radiographs = source / "pneumoniamnist_subset.npz"
    return unpack_radiographs(radiographs, folder) if radiographs.exists() else link_ultrasound(source, folder)


def link_ultrasound(source, folder):
    """Links `folder/<class>/<name>.png` to the images; what tells of them: settings."""
    with open(source / "labels.csv", newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            name = f"{row['name']}.png"
            image = next(path for path in (source / "images" / name, source / "extra_images" / name) if path.exists())
            link = folder / row["class"] / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(image.resolve())
    return (
        "data.split={validation: 0, test: 0.33, seed: 0}",
        "model.classes=[benign, malignant]",
        "model.evaluator_features=16",
    )


def quarter(file):
    """A quarter of the channels of a GAN's networks, without their last blocks: settings."""
    model = tfmed.load_config(file).model
    for name in ("generator_channels", "critic_channels"):
        yield f"model.{name}={[width // 4 for width in getattr(model, name)[:-1]]}"
    yield f"model.critic_first={model.critic_first // 4}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="+", choices=GANS, default=list(GANS))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    images = arguments.out / "images"
    of_data = unpacked(arguments.folder, images)
    for name in arguments.only:
        file = (CONFIGS / GANS[name]).resolve()
        words = (*SHARED, *of_data, *quarter(file), f"data.root={images.resolve()}", f"train.steps={arguments.steps}",
                 f"model.runs={arguments.runs}", *arguments.overrides)  # fmt: skip
        tfmed.fit(file, arguments.out / name, resume=True, overrides=words)
    first, *others = (str(arguments.out / name) for name in arguments.only)
    return cli.run(evaluate.main, [first, "--compare", *others] if others else [first])


if __name__ == "__main__":
    raise SystemExit(main())
