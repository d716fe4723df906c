"""Cases that runs are scored on: whole ones, and of no patient that a run has learnt from."""

from tfmed.data.checks import check_case, is_phantom
from tfmed.errors import DataError, RunError


def refuse_leak(name, method, cases, part):
    """Raise a RunError if a run was trained on a patient of the cases that it is scored on."""
    groups = method.cases.patients("train") if part != "train" else set()
    seen = [case for case in cases if case.group in groups]
    if seen:
        raise RunError(
            f"{name}: was trained on patient {seen[0].group} of the cases to score; give both runs the same "
            "data.split.seed"
        )


def checked(methods, cases, part, what):
    """The cases that runs are to be scored on, once it is certain that they may be.

    Args:
        methods: name of the run -> its Method.
        cases: of the first one's `part` of the split; `what` one of them is called.

    Raises:
        RunError: there are none, or a run was trained on a patient of one.
        DataError: a case is damaged, or its files do not fit together.
    """
    if not cases:
        raise RunError(f"no {what} is in the part {part!r} of the split; choose another --part")
    for name, method in methods.items():
        refuse_leak(name, method, cases, part)
    for case_spec in dict.fromkeys(method.case_spec for method in methods.values()):
        for case in cases:
            if not is_phantom(case) and (problems := check_case(case, case_spec)):
                raise DataError(problems[0])
    return cases
