"""Chest CT phantoms: any number of labelled scans, made when they are read."""

from .phantom_cases import phantom_cases


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
    unlabelled=0,
):
    """Phantom chest CTs with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, nodules, nodule_radius_mm, field_of_view_mm, length_mm, noise_hu, streaks: as in `phantoms.chest_ct`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    return phantom_cases(
        "chest_ct",
        "chest",
        {"ct": "image"},
        cases,
        seed,
        unlabelled,
        shape=shape,
        nodules=nodules,
        nodule_radius_mm=nodule_radius_mm,
        field_of_view_mm=field_of_view_mm,
        length_mm=length_mm,
        noise_hu=noise_hu,
        streaks=streaks,
    )
