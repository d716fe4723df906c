"""What custom training steps share: the base model, adversarial alternation, schedules, image pools."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
