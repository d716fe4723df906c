"""A paper's settings for another data set: what depends on the data follows from a look at them, all else stays.

`tfmed plan FOLDER --method equireg` shows and writes them.
"""

import pydantic

from tfmed import registry
from tfmed.config import load_config, parse_override, with_values
from tfmed.data import sources
from tfmed.errors import ConfigError
from tfmed.tasks import planning
from tfmed.tasks.planning import Choice

# What a settings file says of the paper's data set, besides where it lies.
_OF_THE_DATA = {
    "data.split", "data.labelled_share", "data.preprocess", "model.modalities", "model.labels", "model.label_values",
    "model.regions", "model.merge", "model.patch", "model.stride",
}  # fmt: skip


def settings_for(name, root, words=()):
    """A method's settings with a folder in the place of its paper's data set, and the rest of these still in it.

    Args:
        name: of a settings file, such as `equireg` or `gbdl/uamt`.
        root: folder of images and label maps, whose layout is found by looking.
        words: `key=value` that are to stay so.

    Raises:
        ConfigError: the method needs more than images and label maps.
        DataError: no layout that is known.
    """
    kind = registry.method_class(load_config(name).method)
    if not getattr(kind, "follows_folders", False):
        raise ConfigError(
            f"--method {name}: its settings do not follow from a folder of images and label maps; those of gbdl, "
            "equireg and their variants, and of uss do; for other methods see docs/how-to/tasks.md"
        )
    source, options = sources.detect(root)
    settings = load_config(name, [f"data.source={source}", f"data.root={root}", *words])
    if settings.data.source == source:
        settings = with_values(settings, {"data.options": options | dict(settings.data.options)})
    return settings


def planned(settings, found, words=()):
    """What takes the place of what the paper's data set was like.

    Args:
        settings: those of `settings_for`.
        found: the data set's `Fingerprint`.
        words: `key=value` that are to stay so.

    Returns:
        (list of `Choice`, the settings with them).

    Raises:
        ConfigError: what was said does not fit the choices.
        DataError: a case does not fit them.
    """
    said = {".".join(parse_override(word)[0][:2]) for word in words}
    if "model.label_values" in said:
        said |= {"model.labels"}
    steps = Choice("train.steps", settings.train.steps, "the paper's; the first steps of a run say how long all take")
    every = [*planning.of_the_data(found), *_share(settings, found), _patch(settings, found), steps]
    choices = [choice for choice in every if choice.key not in said]
    settings = _made(settings, choices, without=_OF_THE_DATA - said)
    if "data.preprocess" not in said:
        planning.check(found, settings)
    return choices, settings


def _made(settings, choices, without):
    """The settings with choices made, and what else the paper's data set was like back at its defaults."""
    try:
        return with_values(settings, {choice.key: choice.value for choice in choices}, without)
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{settings.method}: {problem}; what else is said has to fit the plan") from None


def _share(settings, found):
    """Of a data set whose cases all have label maps as many are used as the paper has; else all that there are."""
    share = settings.data.labelled_share
    if share == 1 or found.labelled < found.cases:
        return
    reason = "every case has a label map: so many are used as in the paper, and the others train without"
    yield Choice("data.labelled_share", share, reason)


def _patch(settings, found):
    """The paper's patch, where images are as large."""
    model, kind = settings.model, registry.method_class(settings.method)
    multiples, more = kind.patch_multiples(model), model.per_axis(model.network.remainder)
    sizes = planning.usual_shape(found)[-len(model.patch) :]
    patch = []
    for side, size, multiple, rest in zip(model.patch, sizes, multiples, more, strict=True):
        fits = (min(side, int(size)) - rest) // multiple * multiple + rest
        patch.append(max(fits, multiple + rest, model.network.least))
    reason = "the paper's" + ("" if patch == list(model.patch) else ", made to fit the images and the network")
    return Choice("model.patch", patch, reason)
