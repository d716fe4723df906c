"""Earlier names of what is in `tfmed.data.checks` now."""

from tfmed.data.checks import CaseSpec as Wants
from tfmed.data.checks import check_case, fill, is_phantom, prepare_cases

__all__ = ["Wants", "check_case", "fill", "is_phantom", "prepare_cases"]
