"""Images' names: a manifest may leave out what the runtime then names in full."""

from __future__ import annotations


def same_image(written: str, running: str) -> bool:
    """Whether the image that the runtime names can be the one that a manifest names, which may leave out parts.

    A runtime that knows an image by its digest alone names that.
    """
    if not running or running.startswith("sha256:"):
        return True
    return _whole_image(written) == _whole_image(running)


def _whole_image(image: str) -> str:
    """Give an image's name with what is left out of it (distribution/reference, ParseNormalizedNamed)."""
    name, _, digest = image.partition("@")
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name if slash else f'library/{name}'}"
    else:
        name = f"{'docker.io' if first == 'index.docker.io' else first}/{rest}"
    if digest:
        path, colon, tag = name.rpartition(":")
        return f"{path if colon and '/' not in tag else name}@{digest}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
