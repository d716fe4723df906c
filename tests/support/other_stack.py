"""python -m tests.support.other_stack WHAT FOLDER NAME ...: models of one stack, to be opened on the other.

WHAT is `weights` (checkpoints of models as they are made) or `runs` (whole runs, and what their models answer).
"""

import importlib
import pathlib
import sys

import numpy as np

import tfmed
from tfmed import compat, registry
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.lifecycle import fit

REPOSITORY = pathlib.Path(__file__).parents[2]


def interpreter():
    """Python of the other stack's virtual environment beside this one's, or None."""
    path = REPOSITORY / (".venv" if compat.STACK == "current" else ".venv-current") / "bin" / "python"
    return path if path.exists() else None


def harness(name):
    """The harness of the method that `tests/methods/<name>.py` tests."""
    return importlib.import_module(f"tests.methods.{name}").TestHarness


def first_stage(name):
    """(stage, model) of a method, untrained."""
    settings = harness(name).settings()
    stage = next(iter(registry.method_class(settings.method)(settings).stages()))
    return stage, stage.model()


def scramble(model):
    """Give every weight values of its own, so that no two can be exchanged unnoticed."""
    rng = np.random.default_rng(0)
    for variable in compat.weights(model):
        change = rng.normal(0, 0.1, variable.shape).astype("float32")
        variable.assign(np.asarray(compat.tensor_variable(variable)) + np.abs(change))


def values(model):
    """[(last part of a weight's name, its values)]."""
    names = [getattr(variable, "path", variable.name).removesuffix(":0").rpartition("/")[2]
             for variable in compat.weights(model)]  # fmt: skip
    return list(zip(names, map(np.asarray, map(compat.tensor_variable, compat.weights(model))), strict=True))


def save(folder, names, arrays):
    """Write named arrays, and which stack they are of."""
    found = {f"array {k:04d}": np.asarray(array) for k, array in enumerate(arrays)}
    np.savez(folder / "arrays.npz", stack=compat.STACK, names=names, **found)


def load(folder):
    """(stack, [(name, array)]) of what `save` wrote."""
    with np.load(folder / "arrays.npz") as found:
        arrays = [found[key] for key in sorted(found) if key.startswith("array")]
        return str(found["stack"]), list(zip(found["names"].tolist(), arrays, strict=True))


def write_weights(folder, name):
    stage, model = first_stage(name)
    scramble(model)
    state = {"stage": stage.name, "stage_index": 0, "step": 1, "finished": True, "best_so_far": None}
    Checkpoints(folder / name).save(model, state)
    save(folder / name, *zip(*values(model), strict=True))


def write_run(folder, name):
    run = fit(harness(name).settings(), folder / name)
    checkpoints = Checkpoints(run.path / "checkpoints")
    method = run.restored()
    for stage, model in method.models.items():
        _, state = checkpoints.latest(stage, best=True)
        scramble(model)
        checkpoints.save(
            model, {key: state[key] for key in ("stage", "stage_index", "step", "finished", "best_so_far")}
        )
    found = answers(name, run.path)
    save(run.path, [str(k) for k in range(len(found))], found)


def answers(name, path):
    """What the exported model of a run is compared with: arrays."""
    return harness(name)().parity(tfmed.load_run(path))[0]


if __name__ == "__main__":
    for word in sys.argv[3:]:
        {"weights": write_weights, "runs": write_run}[sys.argv[1]](pathlib.Path(sys.argv[2]), word)
