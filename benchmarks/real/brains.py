"""3D-StyleGAN on slabs of real T1 brain MR: generated against unseen slabs, and unseen slabs found again.

Run: python -m benchmarks.real.brains BRAINS --out DIR [--steps 1500] [--projections 3] [key=value ...]

BRAINS holds `brain_t1_train.npz` (45 slabs of 8 axial slices). Trains configs/stylegan3d/slab.yaml at 3.5 mm in the
slices with 16 channels, on three quarters of the subjects; repeat the command to go on where it was broken off. Prints
the paper's Table 2 against the other quarter, and the mean squared error of projections of unseen slabs next to that of
the mean style, from which they start.
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from tfmed.engine.terminal import print_table
from tfmed.io import Volume, write_volume

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "stylegan3d" / "slab.yaml"
SHARED = (
    "data.source=nifti_folder",
    "data.options={modality: t1}",
    "data.split={validation: 0.0, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "train.log_every=50",
    "train.preview_every=500",
    "train.tensorboard=false",
    "model.filter_depth=16",
    "model.latent_size=32",
    "model.d_reg=r1",
    "model.d_reg_gamma=1",
    "model.ema_half_life_images=200",
)


def unpack(file, folder):
    """Slabs as `<subject>.nii.gz`; the rows of the stored slices go from front to back."""
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(file, allow_pickle=False) as stored:
        for subject, image in zip(stored["subject"], stored["image"], strict=True):
            path = folder / f"{subject}.nii.gz"
            if not path.exists():
                write_volume(Volume(image, np.diag([1.0, -1.0, 1.0, 1.0])), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--projections", type=int, default=3)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    slabs = arguments.out / "slabs"
    unpack(arguments.folder / "brain_t1_train.npz", slabs)
    words = (*SHARED, f"data.root={slabs}", f"train.steps={arguments.steps}", *arguments.overrides)
    method = tfmed.fit(CONFIG, arguments.out / "run", resume=True, overrides=words).restored()
    print_table(method.evaluate({"3D-StyleGAN": method})["evaluation"])
    for case in method.cases["test"][: arguments.projections]:
        losses = [row["mse"] for row in method.project(case.images["t1"], steps=500)[0].losses]
        print(f"{case.id}: squared error {losses[0]:.0f} at the mean style, {losses[-1]:.0f} projected (grey values)")


if __name__ == "__main__":
    main()
