"""3D-StyleGAN: the harness, and every item of its card's "What must hold"."""

import numpy as np
import pytest

from tests.harness import MethodHarness

pytestmark = pytest.mark.current

TINY_MODEL = dict(
    base_shape=(2, 2, 3),
    levels=2,
    filter_depth=4,
    latent_size=8,
    spacing_mm=(40.0, 40.0, 36.0),
    minibatch_group=2,
    g_reg_interval=2,
)
TINY = (
    "data.options={cases: 8, shape: [16, 18, 16]}",
    "train.batch_size=4",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY_MODEL.items()),
)


class TestHarness(MethodHarness):
    config = "configs/stylegan3d.yaml"
    tiny = TINY
    bad = ("model.resample_kernel=[1, -1]", "resample_kernel")

    def parity(self, run):
        method = run.restored()
        expected = [np.stack([method.model.sample(seed, i) for i in range(n)]) for seed, n in ((3, 1), (7, 2))]
        return expected, [{"seed": np.int64(seed), "n": np.int32(n)} for seed, n in ((3, 1), (7, 2))]
