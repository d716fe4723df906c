"""CT-SGAN: what it learns on toy volumes whose truth is known, and what sampling costs in memory."""

import functools
import pathlib
import subprocess
import sys

import pytest

from benchmarks.toys import ctsgan as toy
from tests.support.harness import REPOSITORY

seeds = pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.long) for seed in range(4)])


@functools.cache
def volumes(seed, ablated=False):
    """32 volumes of a model trained with this seed."""
    return toy.generated(toy.train(seed, toy.STEPS, **(toy.ABLATION if ablated else {})))


@seeds
def test_generated_volumes_move_from_slice_to_slice_as_real_ones_do(seed):
    """Mean |v[k+1] - v[k]|: within a factor 2 of real volumes.

    Measured on stack `addons`, seeds 0 to 3, relative to real volumes: 1.36 to 1.53.
    """
    ours, truth = toy.roughness(volumes(seed)), toy.roughness(toy.real())
    assert truth / 2 < ours < truth * 2


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_the_ablation_does_not(seed):
    """Independent latents and no slab critic move far more (measured: 12.8 to 17.0 times as much as real volumes)."""
    assert toy.roughness(volumes(seed)) < toy.roughness(volumes(seed, ablated=True)) / 3


@seeds
def test_brightness_belongs_to_the_volume(seed):
    """Brightness of slices spreads less than half as much within a volume as between volumes.

    Measured on stack `addons`, seeds 0 to 3, within / between: 0.12 to 0.17 (real volumes 0.03); between: 0.26 to 0.30
    (real 0.26). The ablation has 4.3 to 5.0 and 0.03 to 0.05.
    """
    within, between = toy.brightness_spreads(volumes(seed))
    assert within < between / 2
    assert between > toy.brightness_spreads(toy.real())[1] / 2  # patients differ


# Prints the peak resident size in MiB, and that of the volume, of a process that samples one volume of argv[1] slices.
_SAMPLE = """
import re, sys
from tfmed.methods.ctsgan import CTSGAN, Config

critics = dict(slice_critic_channels=(8,), slab_critic_channels=(8,))
config = Config(volume_shape=(64, 56, 56), generator_channels=(128, 64, 32), **critics)
volume = CTSGAN(config).sample(length=int(sys.argv[1]))
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(int(peak) / 1024, volume.nbytes / 2**20)
"""


def peak_of_sampling(length):
    """(peak resident size, size of the volume) in MiB of a process that samples `length` slices."""
    words = [sys.executable, "-c", _SAMPLE, str(length)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=300, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(map(float, done.stdout.split()))


@pytest.mark.long
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
def test_memory_of_sampling_grows_by_the_volume_only():
    """Sixteen times the slices; measured 13 to 33 MiB besides the volumes themselves over both stacks, one thread and
    several (the allocator settling), 213 when all are decoded at once."""
    (short, small), (long, large) = (peak_of_sampling(length) for length in (64, 1024))
    grown = long - short - (large - small)
    assert grown < 70, f"MiB: peaks {short:.0f} and {long:.0f}, of it volumes {small:.0f} and {large:.0f}"
