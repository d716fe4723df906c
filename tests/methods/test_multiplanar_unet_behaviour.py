"""Multi-planar U-Net, long: training planes through four annotated ones help (the card's toy check)."""

import numpy as np
import pytest

from benchmarks.toys import multiplanar_unet as toy


@pytest.mark.long
def test_training_planes_make_more_of_few_annotated_ones(tmp_path):
    found = {count: [toy.score(seed, 4, count, steps=300, folder=tmp_path)[0] for seed in (0, 1)] for count in (0, 128)}
    assert np.mean(found[128]) > np.mean(found[0])
