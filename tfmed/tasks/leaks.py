"""No score of a patient that a run has learnt from."""

from tfmed.errors import RunError


def refuse_leak(name, method, cases, part):
    """Raise a RunError if a run was trained on a patient of the cases that it is scored on."""
    groups = method.cases.patients("train") if part != "train" else set()
    seen = [case for case in cases if case.group in groups]
    if seen:
        raise RunError(
            f"{name}: was trained on patient {seen[0].group} of the cases to score; give both runs the same "
            "data.split.seed"
        )
