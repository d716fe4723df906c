"""Reading a prepared volume from the cache against reading its .nii.gz: the two sides in turn, median and spread.

python -m benchmarks.speed.data [--rounds 15]
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

from tfmed.data import phantoms
from tfmed.data.cache import Cache
from tfmed.io import read_volume, write_volume


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "scan.nii.gz"
        write_volume(phantoms.read(phantoms.address("chest_ct", seed=1, shape=(224, 224, 224))), path)
        cache = Cache(pathlib.Path(folder) / "cache", (), "float16")
        cache.get(str(path))
        sides = {"read_volume": lambda: read_volume(path), "cached": lambda: np.array(cache.get(str(path)).array)}
        times = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                times[name].append(seconds(side))
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    for name, values in times.items():
        print(
            f"{name:12s} {1e3 * statistics.median(values):8.1f} ms ({1e3 * min(values):.1f} - {1e3 * max(values):.1f})"
        )
    print(f"ratio        {statistics.median(ratios):8.1f}    ({min(ratios):.1f} - {max(ratios):.1f})")


if __name__ == "__main__":
    main()
