"""Which values of a deployment are secret, and the `Blanker` that takes them out of texts.

Used on everything that leaves for a stack, a log or an error. A value is known as secret by the name it has:
there is no looking for texts that seem to be a password. What is written to the node on purpose (manifests,
a hook's stdin, the store) is not blanked here; it is kept by its file's mode.

What is not found: values shorter than 4 characters, numbers shorter than 8 digits and words such as "true" are
left alone, for they would blank ordinary text; values of fewer than 8 characters are blanked only where they
stand alone, not inside a longer word; a value that a program has cut, hashed or encoded in other ways than
URL, JSON or XML is not recognised.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from .errors import PodError
from .strict_yaml import documents
from .values import KUBELET_GROUP, Deployment

BLANK = "***"

_LEAST = 4
_STANDS_ALONE_BELOW = 8
_DIGITS_LEAST = 8
_LONG = 4096
"""Characters from which on it is quicker to look first which secrets are in a text at all."""
_DEPTH = 64
_TRIVIAL = frozenset({"true", "false", "none", "null", "changeme", "default", "enabled", "disabled", "always", "never"})
_NAME = re.compile(
    r"passw|passphrase|passcode|pass(?![a-z])|.pwd|secret|token|credential|signature$|_sig$|keys?(?![a-z])|"
    r"(^|[^a-z])(auth$|bearer|cookie|dsn)(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PAIR = re.compile(
    r"""["']?name["']?\s*:\s*["']?(?P<name>[\w.-]+)["']?\s*(?:,|\n)\s*(?:-\s+)?["']?value["']?\s*:[ \t]*"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[^\n,}]+)"""
)


def is_secret_name(name: str) -> bool:
    """Whether a value with this name is to be kept: password, secret, token, key, credential… in any case or style."""
    return bool(_NAME.search(_CAMEL.sub("_", name).lower()))


class Blanker:
    """Replaces secret values wherever they appear, in the forms in which programs print them.

    Immutable and safe to share between threads.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(values)

    @classmethod
    def of(cls, deployment: Deployment, manifests: Iterable[Mapping[str, Any]] = ()) -> Blanker:
        """Know a deployment's secrets: its inputs', its config's, and those of `manifests`, its v1 Pods."""
        found = set(_credentials(deployment))
        found.update(_named(deployment.inputs, keys=True))
        # In a v1 Pod `key`, `secretName` and their like are names of things, not secrets: only pairs count there.
        keys = deployment.group != KUBELET_GROUP
        found.update(_named(deployment.config, keys=keys))
        if isinstance(deployment.config, str):
            found.update(_named(_parsed(deployment.config), keys=keys))
        for manifest in manifests:
            found.update(_named(manifest, keys=False))
        return cls(found)

    @classmethod
    def of_credentials(cls, deployment: Deployment) -> Blanker:
        """Know only what Heat gave the deployment to signal with: deploy_password and deploy_signal_id."""
        return cls(_credentials(deployment))

    @classmethod
    def under_names(cls, value: Any) -> Blanker:
        """Know all that stands under a secret name in maps and lists, and what signs URLs in it."""
        return cls({*_named(value, keys=True), *_of_urls(value)})

    @classmethod
    def pairs(cls, value: Any) -> Blanker:
        """Know what {name, value} pairs with a secret name hold, as of a v1 Pod's env."""
        return cls(_named(value, keys=False))

    def __add__(self, other: Blanker) -> Blanker:
        return Blanker(self._values | other._values)

    def text(self, text: str) -> str:
        """Give the text with every secret replaced by `***`."""
        if len(text) < _LONG:
            return self._pattern.sub(BLANK, text) if self._pattern else text
        pattern = _pattern_of([form for form in self._forms if form in text])
        return pattern.sub(BLANK, text) if pattern else text

    def value(self, value: Any) -> Any:
        """Give a JSON value with every text in it blanked, names of maps included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return BLANK if self.text(str(value)) != str(value) else value
        return value

    @cached_property
    def _forms(self) -> list[str]:
        """All that is looked for, longest first."""
        forms = {form for value in self._values for part in _parts(value) for form in _forms(part)}
        return sorted(forms, key=lambda form: (-len(form), form))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return _pattern_of(self._forms)


def by_name(value: Any, *, keys: bool) -> Any:
    """Give a JSON value without what is secret by its name: of {name, value} pairs, and with `keys` of all maps.

    So are also values that are too short to be found in texts. For a v1 Pod `keys` must be false, see `Blanker.of`.
    """
    if isinstance(value, Mapping):
        name = value.get("name")
        named = isinstance(name, str) and is_secret_name(name)
        return {
            key: BLANK
            if item not in (None, "") and ((named and key == "value") or (keys and is_secret_name(str(key))))
            else by_name(item, keys=keys)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [by_name(item, keys=keys) for item in value]
    return value


def _credentials(deployment: Deployment) -> Iterator[str]:
    password, url = (deployment.inputs.get(name) for name in ("deploy_password", "deploy_signal_id"))
    if isinstance(password, str):
        yield password
    if isinstance(url, str):
        yield from _of_url(url)


def _of_url(url: str) -> Iterator[str]:
    """A pre-signed URL, and the parts of it that give its power away when they stand alone.

    One without a query is not signed: it is left readable.
    """
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        yield url
        return
    if password:
        yield password
    if parts.query:
        yield from (url, parts.query)
        for name, value in parse_qsl(parts.query):
            if is_secret_name(name):
                yield value


def _of_urls(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and "://" in value:
        yield from _of_url(value)
    elif isinstance(value, Mapping | list | tuple) and depth <= _DEPTH:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _of_urls(item, depth + 1)


def _named(value: Any, *, keys: bool, depth: int = 0) -> Iterator[str]:
    """Walk maps and lists: {name, value} pairs as of env and inputs, and with `keys` all under a secret name."""
    if depth > _DEPTH:
        return
    if isinstance(value, str):
        yield from _in_text(value)
    elif isinstance(value, Mapping):
        name = value.get("name")
        if isinstance(name, str) and is_secret_name(name) and "value" in value:
            yield from _leaves(value["value"])
        for key, item in value.items():
            if keys and is_secret_name(str(key)):
                yield from _leaves(item)
            yield from _named(item, keys=keys, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(item, keys=keys, depth=depth + 1)


def _parsed(text: str) -> list[Any]:
    """The documents of a config that is text, so that order, style and aliases hide nothing; none if it is bad."""
    try:
        return documents(text)
    except PodError:
        return []  # what `_in_text` finds has to do


def _in_text(text: str) -> Iterator[str]:
    """Find {name, value} pairs in YAML or JSON that may not even parse; its faults are shown to people too."""
    for found in _PAIR.finditer(text):
        if is_secret_name(found["name"]):
            value = found["value"].strip()
            yield value
            if value[0] == value[-1] and value[0] in "\"'" and len(value) > 1:
                yield value[1:-1]


def _leaves(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        if depth <= _DEPTH:
            for item in value:
                yield from _leaves(item, depth + 1)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _pattern_of(forms: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(_expression(form) for form in forms)) if forms else None


def _parts(value: str) -> Iterator[str]:
    """The value itself and, where it has several lines, each line: logs print them one by one."""
    stripped = value.strip()
    if not _worth(stripped):
        return
    yield value if value == stripped else stripped
    lines = stripped.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _STANDS_ALONE_BELOW)


def _worth(value: str) -> bool:
    if len(value) < _LEAST or value.lower() in _TRIVIAL:
        return False
    return not (value.isdigit() and len(value) < _DIGITS_LEAST)


def _forms(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield repr(value)[1:-1]
    try:
        yield from (quote(value, safe=""), quote(value), quote_plus(value))
    except UnicodeEncodeError:
        return  # a lone surrogate has no URL form


def _expression(form: str) -> str:
    escaped = re.escape(form)
    if len(form) >= _STANDS_ALONE_BELOW:
        return escaped
    return rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"
