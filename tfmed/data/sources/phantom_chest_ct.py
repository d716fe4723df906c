"""Chest CT phantoms: any number of labelled scans, made when they are read."""

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.errors import DataError

_MOST = 100_000


def phantom_chest_ct(
    root=None,
    cases=900,
    seed=0,
    shape=(224, 224, 224),
    nodules=0,
    nodule_radius_mm=(3.0, 12.0),
    field_of_view_mm=360.0,
    length_mm=320.0,
    noise_hu=25.0,
    streaks=1.0,
):
    """Phantom chest CTs with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, nodules, nodule_radius_mm, field_of_view_mm, length_mm, noise_hu, streaks: as in `phantoms.chest_ct`.

    Raises:
        DataError: `cases` or `seed` is out of range.
        UserError: another option has the wrong type.
    """
    for name, value, low, high in (("cases", cases, 1, _MOST), ("seed", seed, 0, 1 << 40)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise DataError(f"source phantom_chest_ct: {name} must be an integer from {low} to {high}; got {value!r}")
    common = phantoms.address(
        "chest_ct",
        shape=shape,
        nodules=nodules,
        nodule_radius_mm=nodule_radius_mm,
        field_of_view_mm=field_of_view_mm,
        length_mm=length_mm,
        noise_hu=noise_hu,
        streaks=streaks,
    )
    return [_case(seed * _MOST + number, common) for number in range(cases)]


def _case(seed, common):
    name = f"chest-{seed:07d}"
    image, label = (f"{common}&seed={seed}&part={part}" for part in ("image", "label"))
    return Case(name, name, {"ct": image}, label, {"seed": seed})
