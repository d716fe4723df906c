"""Lesion matching and FROC of tfmed.metrics.lesions against labelling whole volumes with scikit-image, in a loop.

Run: python -m benchmarks.speed.lesions [--rounds 3] [--cases 100] [--speckled 1] [--shape 64 128 128]

Both sides match the components of a map at each threshold with those of the reference by centres of mass, and are
checked to count the same lesions found and false positives. Kinds of maps: 40 blobs, as a trained network gives them,
and (fewer cases, as the loop takes long) the same with specks of noise on 2 % of the voxels. Sides take turns case by
case in one process. The table gives medians (fastest .. slowest) of processor seconds for all cases, and the ratio of
each round to tfmed's (median, quartiles).
"""

import argparse
import time

import numpy as np
from skimage import measure

from benchmarks.support.tables import ratios, spread
from tfmed.metrics.lesions import froc_of_maps


def case(rng, shape, noisy):
    """(map float32, reference) with 40 blobs, of which 3 lie on lesions."""
    values, reference = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for number in range(40):
        radius = rng.uniform(1.5, 6)
        reach = int(np.ceil(radius))
        centre = [int(rng.integers(reach, n - reach)) for n in shape]
        box = tuple(slice(c - reach, c + reach + 1) for c in centre)
        axis = np.arange(-reach, reach + 1, dtype=np.float32)
        away = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) / np.float32(radius)
        np.maximum(values[box], np.float32(rng.uniform(0.3, 1)) * np.clip(1.5 - away, 0, 1), out=values[box])
        if number < 3:
            reference[box] |= away <= 1
    if noisy:
        specks = rng.random(shape, np.float32) < 0.02
        values[specks] = np.maximum(values[specks], rng.random(int(specks.sum()), np.float32))
    return values, reference


def ours(values, reference, thresholds):
    """This package."""
    curve = froc_of_maps([values], [reference], thresholds)
    return curve.sensitivity[::-1], curve.false_positives[::-1]


def looped(values, reference, thresholds):
    """Thresholds and components one by one, labelled and measured by scikit-image."""
    truth, count = measure.label(reference, return_num=True, connectivity=3)
    found, false = [], []
    for threshold in thresholds:
        hit, wrong = set(), 0
        for one in measure.regionprops(measure.label(values >= threshold, connectivity=3)):
            at = truth[tuple(int(np.floor(c + 0.5)) for c in one.centroid)]
            if at:
                hit.add(int(at))
            else:
                wrong += 1
        found.append(len(hit) / count)
        false.append(wrong)
    return found, false


SIDES = {"tfmed": ours, "scikit-image, loop": looped}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 3), ("cases", 100), ("speckled", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 128, 128])
    o = parser.parse_args()
    thresholds = np.linspace(0.1, 0.9, 10)
    for counted in (thresholds, thresholds[4:5]):
        print(f"maps of {o.shape}, {len(counted)} threshold(s), {o.rounds} rounds\n")
        print("| maps | side | s | times tfmed's (quartiles) |\n|---|---|---|---|")
        for kind, cases in (("blobs", o.cases), ("blobs and specks", o.speckled)):
            taken = {name: np.zeros(o.rounds) for name in SIDES}
            for number in range(o.rounds):
                rng = np.random.default_rng(number)
                for _ in range(cases):
                    values, found = case(rng, o.shape, kind != "blobs"), {}
                    for name, side in SIDES.items():
                        begun = time.process_time()
                        found[name] = side(*values, counted)
                        taken[name][number] += time.process_time() - begun
                    for name, scores in found.items():
                        np.testing.assert_allclose(scores, found["tfmed"], err_msg=name)
            for name, times in taken.items():
                row = f"{spread(times.tolist())} | {ratios(times, taken['tfmed'], 1)}"
                print(f"| {cases} of {kind} | {name} | {row} |", flush=True)
        print()


if __name__ == "__main__":
    main()
