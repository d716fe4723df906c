"""Generating one 224^3 chest phantom against reading and resampling a CT of that size with SimpleITK.

Run: python benchmarks/phantom_speed.py [--scan SCAN.nii.gz] [--rounds 15]

The two sides alternate in one run, each with its default number of threads. The scan is brought to 224^3 int16 first;
by default it is a phantom itself (with its noise, so that it compresses as badly as a real scan).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

from tfmed.data.phantoms.chest_ct import chest_ct

SIZE = 224


def resample(image, scale):
    """Linear resampling of an image to SIZE^3 voxels, of `scale` times the spacing that would just cover it."""
    spacing = [s * n / SIZE * scale for s, n in zip(image.GetSpacing(), image.GetSize(), strict=True)]
    frame = image.GetOrigin(), spacing, image.GetDirection()
    return sitk.Resample(image, [SIZE] * 3, sitk.Transform(), sitk.sitkLinear, *frame, -1024.0, image.GetPixelID())


def prepare(scan, path):
    """Write the scan to read, int16 224^3 in a .nii.gz."""
    if scan is None:
        image = sitk.GetImageFromArray(chest_ct(0).volume.array)
    else:
        image = resample(sitk.Cast(sitk.ReadImage(str(scan)), sitk.sitkInt16), 1.0)
    sitk.WriteImage(image, str(path))


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path, help="a CT file to read; default: a written phantom")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii.gz"
        prepare(options.scan, path)
        megabytes = path.stat().st_size / 1e6

        def read():
            resample(sitk.ReadImage(str(path)), 1.1)

        chest_ct(0), read()
        pairs = [(seconds(lambda seed=seed: chest_ct(seed)), seconds(read)) for seed in range(1, options.rounds + 1)]
    ours, theirs = (sorted(side) for side in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    print(f"phantom 224^3             median {statistics.median(ours):.3f} s  ({ours[0]:.3f} .. {ours[-1]:.3f})")
    print(f"read {megabytes:4.1f} MB and resample median {statistics.median(theirs):.3f} s", end="  ")
    print(f"({theirs[0]:.3f} .. {theirs[-1]:.3f})")
    print(f"ratio phantom / read      median {statistics.median(ratios):.2f}     ({ratios[0]:.2f} .. {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
