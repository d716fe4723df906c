"""Cross-image consistency and probes: a perfect autoencoder, mixed codes, known relations."""

import numpy as np
import pytest

from tfmed.metrics.disentanglement import cross_image_consistency, probe_r2

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)


def encode(images):
    return images[:, :3], images[:, 3:]


def decode(content, style):
    return np.concatenate([content, style], 1)


def test_separate_codes_are_consistent_and_mixed_ones_are_not():
    """Images that are [content, style]."""
    one, other = RNG.normal(size=(2, 20, 5))
    assert cross_image_consistency(encode, decode, one, other) == {"cifc": 0, "relative": 0}
    mixed = lambda c, z: np.concatenate([c + 0.3 * z.sum(1, keepdims=True), z], 1)  # noqa: E731
    found = cross_image_consistency(encode, mixed, one, other)
    assert found["cifc"] > 0.05 and found["relative"] > 0.02
    assert cross_image_consistency(encode, mixed, other, one) == pytest.approx(found)


def test_constant_codes_deceive_the_plain_number_alone():
    constant = lambda images: (np.zeros((len(images), 3)), np.zeros((len(images), 2)))  # noqa: E731
    found = cross_image_consistency(constant, decode, *RNG.normal(size=(2, 6, 5)))
    assert found["cifc"] == 0 and np.isnan(found["relative"])


def test_probes_find_what_there_is():
    x = RNG.normal(size=(400, 4))
    assert probe_r2(x, x @ RNG.normal(size=(4, 2))) > 0.99
    assert abs(probe_r2(x, RNG.normal(size=(400, 3)))) < 0.1
    curved = x[:, :1] ** 2
    assert probe_r2(x, curved) < 0.1 and probe_r2(x, curved, "mlp") > 0.7
    assert probe_r2(x, np.hstack([x[:, :1], np.ones((400, 1))])) > 0.99  # what does not vary is left out
    assert np.isnan(probe_r2(x, np.ones((400, 2))))
    for bad in ((x, x, "tree"), (x[:7], x[:7])):
        with pytest.raises(ValueError):
            probe_r2(*bad)
