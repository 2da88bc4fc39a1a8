"""Judges one config by the node's own checks; nothing is said of what depends on a value that only Heat knows.

A fault of a field that is such a value, or that names one, is left out. Any other is tried: where some value of an
unknown would make it go away, it depends on that value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..deployments import read as read_deployment
from ..errors import PodError
from ..marks import FileMarks, Marks, Place, Steps, Text, children, steps_of
from ..options import NAMES, Options, options_of
from ..pods import ConfigFinding, Examined, examine, generated_name, read
from ..secrets import Blanker
from ..strict_yaml import TextError
from ..values import KUBELET_GROUP, Deployment, Identity, Pod
from .reports import ERROR, NOTE, WARNING, Finding
from .unknowns import Unknowns

_MOST_TRIES = 1500
_MOST_WORDS = 60
_MOST_WORK = 300_000
"""Scalars looked at over all tries: a second or so."""


@dataclass(frozen=True)
class Config:
    """What is to be judged, and how its faults are placed."""

    content: Any
    place: Place
    """Where it stands, for faults that have no better place."""
    label: str
    """The resource or deployment that has it."""
    identity: Identity
    options: Mapping[str, Any] = field(default_factory=dict)
    holder: Any = None
    """The map that has `config` and `options`, where its marks are."""
    deployment: Deployment | None = None
    """Of metadata, the whole entry: its inputs have secrets."""


@dataclass(frozen=True)
class Judged:
    """What there is to be said about a config."""

    findings: tuple[Finding, ...]
    pods: tuple[str, ...]
    """Those without a fault, as namespace/name; not those whose name is not known before they are deployed."""


@dataclass(frozen=True)
class Judge:
    """Judges configs with a node's defaults."""

    defaults: Mapping[str, str]
    node_name: str
    unknowns: Unknowns
    marks: Marks

    def judge(self, config: Config) -> Judged:
        """Check a config and its options; secrets in it are not told."""
        judged = self._judge(config)
        deployment = config.deployment
        if deployment is None:
            deployment = read_deployment({"name": "-", "group": KUBELET_GROUP, "config": config.content}, "")
        blanker = Blanker.of(deployment)
        told = (replace(each, message=blanker.text(each.message)) for each in judged.findings)
        return Judged(tuple(told), judged.pods)

    def _judge(self, config: Config) -> Judged:
        findings = list(self._options(config))
        strict = self._strict(config)
        content = config.content
        if self.unknowns.is_word(content):
            return Judged((*findings, self._not_judged(config, self.unknowns.why(content))), ())
        inner = Marks()
        try:
            documents = read(content, FileMarks(inner))
        except TextError as error:
            return Judged((*findings, self._unreadable(config, error)), ())
        except PodError as error:
            return Judged((*findings, *(Finding.at(config.place, ERROR, each) for each in error.faults)), ())
        if not isinstance(content, str):
            inner = self.marks

        def look(values: list[Any]) -> Examined:
            return examine(values, identity=config.identity, strict=strict, node_name=self.node_name)

        examined = look(documents)
        placed = _Placed(config, inner, documents)
        words = self.unknowns.places(documents)
        for each in _Doubt(self.unknowns, documents, words, look).certain(examined.findings):
            steps = (*each.steps, *_given_steps(documents, each))
            findings.append(placed.finding(WARNING if each.warning else ERROR, each.text, steps, each.path))
        for steps, word in words:
            path = path_of(steps[1:])
            text = self.unknowns.known(f"{path or 'the pod'}: not judged: {self.unknowns.why(word)}")
            findings.append(placed.finding(NOTE, text, steps, path))
        for pod, steps in zip(examined.pods, examined.steps, strict=True):
            for path, message in self._advice(pod):
                findings.append(placed.finding(WARNING, f"{path}: {message}", (*steps, *steps_of(path)), path))
        return Judged(tuple(findings), tuple(self._names(config, examined)))

    def _names(self, config: Config, examined: Examined) -> Iterator[str]:
        made = set()
        if not config.identity.stack_id:  # a name that is made has the stack in it
            made = {generated_name(config.identity, index) for index in range(len(examined.pods))}
        for pod in examined.pods:
            if pod.key.name not in made and not self.unknowns.of(str(pod.key)):
                yield str(pod.key)

    def _strict(self, config: Config) -> bool:
        try:
            return options_of(config.options, self.defaults).strict
        except PodError:
            return Options().strict

    def _options(self, config: Config) -> Iterator[Finding]:
        def at(name: str) -> Place:
            return self.marks.find(config.holder, ("options", name)) or config.place

        try:
            options_of(config.options, self.defaults)
        except PodError as error:
            for fault in error.faults:
                name = fault.split(":")[0].removeprefix("options.")
                if not self.unknowns.of(fault):
                    yield Finding.at(at(name), ERROR, fault, resource=config.label, field=f"options.{name}")
        for name in config.options:
            if name not in NAMES:
                import difflib

                close = difflib.get_close_matches(str(name), NAMES, 1, 0.6)
                mend = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(NAMES)}"
                message = f"options.{name}: is no option of this agent, which leaves it alone; {mend}"
                yield Finding.at(at(name), WARNING, message, resource=config.label, field=f"options.{name}")

    def _not_judged(self, config: Config, why: str) -> Finding:
        return Finding.at(config.place, NOTE, f"config: not judged: {why}", resource=config.label)

    def _unreadable(self, config: Config, error: TextError) -> Finding:
        if self.unknowns.of(config.content):
            word = self.unknowns.of(config.content)[0]
            why = f"the text cannot be read without a value that only Heat knows ({self.unknowns.why(word)})"
            return self._not_judged(config, f"{why}: {self.unknowns.known(str(error))}")
        exact = config.content.place(error.line, error.column) if isinstance(config.content, Text) else None
        return Finding.at(exact or config.place, ERROR, error.what if exact else str(error), resource=config.label)

    def _advice(self, pod: Pod) -> Iterator[tuple[str, str]]:
        """Say what the node has no reason to say: it runs, but perhaps not as meant."""
        for kind in ("initContainers", "containers"):
            for number, container in enumerate(pod.manifest["spec"].get(kind, [])):
                image = container.get("image", "")
                if is_latest(image) and not container.get("imagePullPolicy") and not self.unknowns.of(image):
                    what = f"{image} is pulled at every start, also where the node has it: it has no tag, or latest"
                    yield f"spec.{kind}[{number}].image", f"{what}; give it a tag, or set imagePullPolicy"


class _Placed:
    """Finds the file's place of a field of a config: of a map by its own marks, of a text by those of its lines."""

    def __init__(self, config: Config, marks: Marks, documents: list[Any]) -> None:
        self._config = config
        self._marks = marks
        self._documents = documents

    def finding(self, severity: str, message: str, steps: Steps, path: str) -> Finding:
        """Give a finding about the field at `steps` in the documents."""
        config, text = self._config, self._config.content
        place = self._marks.find(self._documents, steps)
        if isinstance(text, Text):
            place = text.place(place.line, place.column) if place else None
        elif isinstance(text, str):
            message = f"{message} (line {place.line} of the text)" if place else message
            place = None
        return Finding.at(place or config.place, severity, message, resource=config.label, field=path)


class _Doubt:
    """Tells the findings that hold whatever the unknown values will be."""

    def __init__(
        self,
        unknowns: Unknowns,
        documents: list[Any],
        places: list[tuple[Steps, str]],
        look: Callable[[list[Any]], Examined],
    ) -> None:
        self._unknowns = unknowns
        self._documents = documents
        self._places = places
        self._look = look

    def certain(self, findings: tuple[ConfigFinding, ...]) -> list[ConfigFinding]:
        """Give those of the findings that do not depend on an unknown value."""
        if not self._places:
            return list(findings)
        kept = [each for each in findings if not self._unknowns.of(each.text) and not self._about_unknown(each)]
        tries, most = 0, min(_MOST_TRIES, _MOST_WORK // max(1, sum(1 for _ in _scalars(self._documents))))
        words = {word: steps for steps, word in reversed(self._places)}
        for word, steps in list(words.items())[:_MOST_WORDS]:
            for value in _candidates(steps, self._documents):
                if not any(not each.warning for each in kept) or tries >= most:
                    return kept
                tries += 1
                found = {
                    (each.steps, each.path, each.what)
                    for each in self._look(_with(self._documents, word, value)).findings
                }
                kept = [each for each in kept if (each.steps, each.path, each.what) in found]
        return kept

    def _about_unknown(self, finding: ConfigFinding) -> bool:
        steps = (*finding.steps, *_given_steps(self._documents, finding))
        return any(steps[: len(place)] == place for place, _ in self._places)


def _candidates(steps: Steps, documents: list[Any]) -> Iterator[Any]:
    """Give values that a field may have: of its kind, and what the rest of the config names."""
    scalars = list(dict.fromkeys(_scalars(documents)))
    names = [each for each in scalars if isinstance(each, str) and len(each) <= 63][:_MOST_WORDS]
    numbers = [each for each in scalars if isinstance(each, int) and not isinstance(each, bool)][:_MOST_WORDS]
    last = next((step for step in reversed(steps) if isinstance(step, str)), "")
    if last == "volumes":
        yield [{"name": name, "emptyDir": {}} for name in names]
    if last == "ports":
        yield [{"name": name, "containerPort": 1 + index} for index, name in enumerate(names)]
    if last in ("containers", "initContainers"):
        ports = [{"name": name, "containerPort": 1 + index} for index, name in enumerate(names)]
        yield [{"name": "zzcontainer", "image": "i", "ports": ports}]
    if last in ("limits", "requests"):
        yield {"cpu": "1000", "memory": "1000Ti", "ephemeral-storage": "1000Ti"}
        yield {}
    if last == "resources":
        yield {"limits": {"cpu": "1000", "memory": "1000Ti"}}
        yield {}
    if last == "securityContext":
        yield {"privileged": True, "runAsUser": 1}
        yield {"privileged": False, "allowPrivilegeEscalation": True}
    yield from (None, True, False, 0, 1, "1", "1000Ti", 65535, {}, [])
    yield from names
    yield from numbers


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for _, item in children(value):
            yield from _scalars(item)
    elif value is not None:
        yield value


def _with(value: Any, word: str, instead: Any) -> Any:
    """Give a value with something else in place of a word; within a longer text only where it is text too."""
    if isinstance(value, dict):
        return {_in_text(key, word, instead): _with(item, word, instead) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, word, instead) for item in value]
    if isinstance(value, str) and word in value:
        return instead if value == word else _in_text(value, word, instead)
    return value


def _in_text(text: str, word: str, instead: Any) -> str:
    return text.replace(word, str(instead)) if isinstance(instead, (str, int)) else text


def _given_steps(documents: list[Any], finding: ConfigFinding) -> Steps:
    """Give the way to a field as the author wrote it: faults of an old ContainerManifest may name v1's fields."""
    steps = steps_of(finding.path)
    document: Any = documents
    for step in finding.steps:
        document = document[step]
    if not isinstance(document, dict) or "spec" in document or not steps:
        return steps
    if steps[:2] == ("metadata", "name"):
        return ("id",)
    return steps[1:] if steps[0] == "spec" else steps


def path_of(steps: Steps) -> str:
    """Write the way to a field as faults do."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def is_latest(image: str) -> bool:
    """Whether an image is one of which the kubelet asks the registry at every start (pkg/apis/core/v1/defaults.go)."""
    if "@" in image or not image:
        return False
    return image.rpartition("/")[2].partition(":")[2] in ("", "latest")
