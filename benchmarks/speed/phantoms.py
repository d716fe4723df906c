"""Generating one 224^3 chest phantom against reading and resampling a CT of that size with SimpleITK.

Run: python -m benchmarks.speed.phantoms [--scan SCAN.nii.gz] [--rounds 15]

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
    """Wall-clock and processor seconds (of all threads) of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def report(name, pairs):
    """One row each for the two sides and their ratio, paired by round."""
    ours, theirs = zip(*pairs, strict=True)
    ratios = [a / b for a, b in pairs]
    rows = (("phantom", ours, "s"), ("read and resample", theirs, "s"), ("ratio phantom / read", ratios, ""))
    for row, values, unit in rows:
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:10s} {row:22s} median {middle:.3f} {unit:1s}  ({low:.3f} .. {high:.3f})")


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
        rounds = [(seconds(lambda seed=seed: chest_ct(seed)), seconds(read)) for seed in range(1, options.rounds + 1)]
    print(f"224^3 voxels, file of {megabytes:.1f} MB, {options.rounds} rounds")
    for k, name in enumerate(("wall clock", "processor")):
        report(name, [(ours[k], theirs[k]) for ours, theirs in rounds])


if __name__ == "__main__":
    main()
