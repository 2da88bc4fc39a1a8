"""Values that only Heat will know: each is a word of its own in the config until then, so that it can be found again.

A word and not an object, as texts are put together of such values; it is a good name and a good part of an image's
name, so that the checks of texts pass.
"""

from __future__ import annotations

import re
from typing import Any

from ..marks import Steps, children

_WORD = re.compile(r"zzvalue\d+zz")


class Unknowns:
    """The words that were given out, and what each stands for."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def word(self, why: str) -> str:
        """Give a word for a value that is not known, and why it is not."""
        word = f"zzvalue{len(self._reasons) + 1}zz"
        self._reasons[word] = why
        return word

    def why(self, word: str) -> str:
        """Say why a word's value is not known."""
        return self._reasons.get(word, "")

    def of(self, text: str) -> list[str]:
        """Give the words in a text."""
        return [word for word in _WORD.findall(text) if word in self._reasons] if self._reasons else []

    def is_word(self, value: Any) -> bool:
        """Whether a value as a whole is not known."""
        return isinstance(value, str) and value in self._reasons

    def places(self, value: Any, steps: Steps = ()) -> list[tuple[Steps, str]]:
        """Give the way to each text of a value that has a word in it, and the word; keys count too."""
        if isinstance(value, str):
            return [(steps, word) for word in self.of(value)[:1]]
        found = []
        for step, item in children(value):
            if isinstance(step, str) and self.of(step):
                found.append(((*steps, step), self.of(step)[0]))
            found += self.places(item, (*steps, step))
        return found

    def known(self, text: str) -> str:
        """Give the text with a readable mark in place of each word."""
        return _WORD.sub(lambda match: "…" if match[0] in self._reasons else match[0], text)
