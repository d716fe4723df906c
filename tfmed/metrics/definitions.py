"""What the columns of tables mean where more than one definition is in use; printed below every table that has them."""

import re
from collections.abc import Iterable

from tfmed.metrics import surface

SPREAD = "std and ±: standard deviation of the sample (divided by n - 1)"
_SCORES = {  # name of a score, as a regular expression -> what it is
    r"HD (mm|px)": "largest of all distances between the two surfaces",
    r"HD95 (mm|px)": f"{surface.HD95} (MedPy; MONAI takes the larger one of both directed percentiles)",
    r"ASSD (mm|px)": f"{surface.ASSD} (MedPy before 0.5)",
    r"MSD (mm|px)": f"{surface.MSD} (MedPy since 0.5, MONAI)",
    r"NSD [\d.]+ (mm|px)": f"{surface.NSD} (Nikolov et al. 2021, voxels counted in place of areas)",
    r"(FID|FD\[[^]]*\])": "mean of pairs, a volume of the source and a real one; mostly how far patients are apart",
    r"(FID|FD\[[^]]*\]) pooled": "all slices of the source and of the second half of the real volumes together. Two "
    "halves of few patients differ by who is in them; a generated set varies less, and can be nearer than the other "
    "half without being as good. Only many volumes tell",
}


def nsd_column(tolerance: float, unit: str = "mm") -> str:
    """The name of a column of surface Dices at a tolerance.

    Example:
        >>> nsd_column(2.0)
        'NSD 2 mm'
    """
    return f"NSD {tolerance:g} {unit}"


def of_columns(columns: Iterable[str]) -> list[str]:
    """A line for each score among the columns of a table that needs one, and one for standard deviations.

    Args:
        columns: names, such as "Dice mean", "HD95 mm mean", "HD95 mm std".

    Returns:
        list of str.
    """
    columns = list(columns)
    scores = dict.fromkeys(re.sub(r" (mean|std)$", "", column) for column in columns)
    lines = [f"{score}: {text}" for score in scores for name, text in _SCORES.items() if re.fullmatch(name, score)]
    if any(column.endswith(" std") for column in columns):
        lines += [SPREAD]
    return lines
