"""The sources of phantoms: cases listed by address, options passed on, the last ones without labels on request."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.current

KEYS = {
    "phantom_left_atrium": ["mr"],
    "phantom_liver_ct": ["ct"],
    "phantom_brain_tumour": ["t1", "t1ce", "t2", "flair"],
}


@pytest.mark.parametrize("source", KEYS)
def test_sources_list_addresses(source):
    cases = sources.open(source, cases=7, seed=2, shape=[16, 16, 16], unlabelled=3)
    assert [list(case.images) for case in cases] == [KEYS[source]] * 7
    assert [case.label is None for case in cases] == [False] * 4 + [True] * 3
    assert len({case.group for case in cases}) == 7
    name = source.removeprefix("phantom_")
    for case in cases[:4]:
        for part, address in {**case.images, "label": case.label}.items():
            found, options = phantoms.parse(address)
            assert (found, options["seed"], options["shape"]) == (name, case.meta["seed"], (16, 16, 16))
            assert options["part"] == (part if len(case.images) > 1 or part == "label" else "image")
    fewer = sources.open(source, cases=4, seed=2, shape=(16, 16, 16))
    assert fewer == cases[:4]
    assert not {case.id for case in sources.open(source, cases=7, seed=3)} & {case.id for case in cases}
    assert all(phantoms.read(address).shape == (16, 16, 16) for address in cases[0].images.values())


@pytest.mark.parametrize("source", [*KEYS, "phantom_chest_ct"])
def test_sources_know_every_option_of_their_phantom(source):
    name = source.removeprefix("phantom_")
    defaults = sources.open(source, cases=1)[0].images
    own = phantoms.parse(next(iter(defaults.values())))[1]
    assert {**own, "seed": 0} == phantoms.options(name)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"cases": 0}, "cases must be an integer from 1"),
        ({"cases": 5, "unlabelled": 6}, "unlabelled must be an integer from 0 to 5"),
        ({"unlabelled": True}, "unlabelled must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"unlabeled": 1}, "did you mean 'unlabelled'?"),
        ({"shape": "a,b"}, "shape must be"),
    ],
)
@pytest.mark.parametrize("source", KEYS)
def test_bad_options_of_sources_get_one_line(source, options, said):
    with pytest.raises((DataError, UserError)) as caught:
        sources.open(source, **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_colours_differ_and_bars_do_not():
    """The colour is the class; where the bar lies tells nothing of it."""
    cases = sources.open("phantom_coloured_shapes", cases=3, shape=(32, 32))
    assert [case.meta["class"] for case in cases] == ["red", "green", "blue"]
    made = [phantoms.coloured_shape(7, colour=name) for name in ("red", "green")]
    np.testing.assert_array_equal(made[0].labels.array, made[1].labels.array)
    inside = made[0].labels.array == 1
    means = [[np.mean(getattr(one, name).array[inside]) for name in ("red", "green", "blue")] for one in made]
    assert np.argmax(means[0]) == 0 and np.argmax(means[1]) == 1
    with pytest.raises(DataError, match="classes are some of red, green"):
        sources.open("phantom_coloured_shapes", classes=("pink",))
