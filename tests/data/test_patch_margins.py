"""Context around patches for networks without padding, and the au-net as a setting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfmed
from tfmed.data.cache import Prepared
from tfmed.data.case import Case
from tfmed.data.patches import Patches
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.errors import ConfigError
from tfmed.tasks.backbones import AUNet, UNet

pytestmark = pytest.mark.current

SIZE = (7, 11, 9)
IMAGE = np.random.default_rng(0).random((*SIZE, 2), np.float32)
LABEL = (IMAGE[..., 0] > 0.9).astype(np.uint8)


def patches(shape, margin, pad, **options):
    case = Case("one", "one", {})
    prepared = Prepared(IMAGE, LABEL, np.eye(4), None)
    return Patches(lambda _: prepared, [case], shape, 3, margin=margin, pad=pad, **options)


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 13), st.integers(1, 12))
MARGINS = st.tuples(st.integers(0, 20), st.integers(0, 6), st.integers(0, 9))


@given(SHAPES, MARGINS, st.sampled_from(["edge", "reflect"]), st.integers(0, 99), st.sampled_from([0.0, 1.0]))
def test_around_a_patch_lies_the_case_itself(shape, margin, pad, number, foreground):
    """The middle is the patch without a margin; all of it is the case with its surroundings."""
    image, label, _ = patches(shape, margin, pad, foreground=foreground)(number)
    plain, same, _ = patches(shape, (0, 0, 0), pad, foreground=foreground)(number)
    np.testing.assert_array_equal(label, same)
    middle = tuple(slice(m, m + n) for m, n in zip(margin, shape, strict=True))
    np.testing.assert_array_equal(image[middle], plain)
    _, starts = patches(shape, margin, pad, foreground=foreground).place(number)
    whole = np.pad(IMAGE, [(40, 40)] * 3 + [(0, 0)], mode=pad)
    box = tuple(slice(40 + s - m, 40 + s + n + m) for s, n, m in zip(starts, shape, margin, strict=True))
    np.testing.assert_array_equal(image, whole[box])


@given(st.lists(st.integers(-30, 30), min_size=3, max_size=3), SHAPES)
def test_mirrored_boxes_equal_numpy(starts, shape):
    box = tuple(slice(40 + s, 40 + s + n) for s, n in zip(starts, shape, strict=True))
    whole = np.pad(LABEL, 40, mode="reflect")[box] if max(starts) + max(shape) <= 40 else None
    found = boxed_array(LABEL, starts, shape, "reflect")
    assert found.shape == shape
    if whole is not None:
        np.testing.assert_array_equal(found, whole)
    np.testing.assert_array_equal(boxed_array(IMAGE[:1], (-3, 0, 0), (5, 2, 2), "reflect"), [IMAGE[0, :2, :2]] * 5)


def test_only_the_au_net_has_a_margin():
    assert AUNet().margin == (20, 92, 92) and AUNet().multiple(3) == (4, 16, 16) and AUNet().remainder == (0, 4, 4)
    assert UNet().margin == 0 and UNet().remainder == 0


@pytest.mark.parametrize(("patch", "words"), [
    ([4, 180, 176], "176 is no multiple of 16 plus 4, as network aunet needs; try 180"), ([4, 20, 3], "3 is no"),
    ([6, 180, 180], "try 8"), ([180, 180], "3-D"),
])  # fmt: skip
def test_wrong_patches_of_the_au_net_are_told(patch, words):
    with pytest.raises(ConfigError) as caught:
        tfmed.load_config("configs/equireg.yaml", [f"model.patch={patch}", "model.network={name: aunet}"])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    tfmed.load_config("configs/equireg.yaml", ["model.patch=[4, 180, 20]", "model.network={name: aunet}"])
