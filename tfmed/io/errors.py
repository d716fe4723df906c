"""What every reader raises when a file cannot be trusted."""

from tfmed.errors import UserError


class ImageIntegrityError(UserError):
    """An image is damaged, incomplete, or not of a kind that can be read; the message is one line."""


def damage(path: object, wrong: str, fix: str = "copy or download the file again") -> ImageIntegrityError:
    """The error for `path`, its message kept to one line whatever the path or a library's text contains."""
    return ImageIntegrityError(" ".join(f"{path}: {wrong}; {fix}".split()))
