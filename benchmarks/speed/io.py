"""Reading and writing volumes: tfmed.io, which checks everything, against nibabel and SimpleITK, which do not.

Run it from a checkout: `python -m benchmarks.speed.io [--repeats 9]`. The sides take turns in one process on the same
files, so that a busy machine slows both; the table gives medians, the spread (quartiles) and the ratio ours / theirs.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import nibabel
import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from tfmed.io import Volume, read_volume, write_volume

SHAPE = (160, 192, 192)
AFFINE = np.diag([-0.8, -0.8, 1.25, 1.0])


def ct_like():
    """A volume that deflates about as well as a real CT: smooth structures with noise, int16."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=SHAPE).astype("float32"), 3) * 8000
    return Volume((smooth + rng.normal(size=SHAPE) * 15).astype("int16"), AFFINE)


def read_nibabel(path):
    """Voxels as nibabel gives them, the gzip trailer unread."""
    return np.copy(nibabel.load(path).dataobj)


def read_sitk(path):
    """Voxels as SimpleITK gives them."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def read_sitk_series(folder):
    """A DICOM series as SimpleITK reads it, its names sorted by GDCM."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def write_nibabel(volume, path):
    """nibabel's own .nii.gz."""
    nibabel.save(nibabel.Nifti1Image(volume.array.T, volume.affine), path)


def compare(ours, theirs, repeats):
    """Seconds of both sides, taking turns, after one unmeasured turn each."""
    taken = ([], [])
    for turn in range(repeats + 1):
        for side, call in enumerate((ours, theirs)):
            start = time.perf_counter()
            call()
            if turn:
                taken[side].append(time.perf_counter() - start)
    return taken


def row(name, ours, theirs, repeats):
    """One printed line of the table."""
    taken = compare(ours, theirs, repeats)
    medians = [statistics.median(side) for side in taken]
    quartiles = [statistics.quantiles(side, n=4) for side in taken]
    cells = [f"{1e3 * median:8.1f} ({1e3 * low:.1f}-{1e3 * high:.1f})"
             for median, (low, _, high) in zip(medians, quartiles, strict=True)]  # fmt: skip
    print(f"| {name} | {cells[0]} | {cells[1]} | {medians[0] / medians[1]:.2f} |", flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    volume = ct_like()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in ("v.nii.gz", "v.nii", "v.mha", "v.nrrd", "series"):
            write_volume(volume, root / name)
        sitk.WriteImage(sitk.ReadImage(str(root / "v.mha")), str(root / "packed.nrrd"), True)
        print(f"{SHAPE} int16\n\n| task | tfmed ms (quartiles) | other ms (quartiles) | tfmed / other |")
        print("|---|---|---|---|")
        for name in ("v.nii.gz", "v.nii"):
            path = root / name
            row(f"read {name}, nibabel", lambda p=path: read_volume(p), lambda p=path: read_nibabel(p), repeats)
            row(f"read {name}, SimpleITK", lambda p=path: read_volume(p), lambda p=path: read_sitk(p), repeats)
        for name in ("v.mha", "v.nrrd", "packed.nrrd"):
            path = root / name
            row(f"read {name}, SimpleITK", lambda p=path: read_volume(p), lambda p=path: read_sitk(p), repeats)
        series = root / "series"
        row("read DICOM series, SimpleITK", lambda: read_volume(series), lambda: read_sitk_series(series), repeats)
        ours, theirs = root / "ours.nii.gz", root / "theirs.nii.gz"
        row("write .nii.gz", lambda: write_volume(volume, ours), lambda: write_nibabel(volume, theirs), repeats)


if __name__ == "__main__":
    main()
