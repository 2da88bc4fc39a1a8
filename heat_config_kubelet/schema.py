"""Checks the shape of a v1 Pod: fields known, required, of the right type, form and range, one of a union.

What is checked is data: `data/pod_schema.json`, made by tools/make-pod-schema from the Kubernetes client's models
and a supplement. The kubelet drops a field that it does not know without a word
(apimachinery/pkg/runtime/serializer/json, lenient); here it is a fault, with a guess at what was meant.

Not for: rules about more than one field (see `checks.py`). Never imports the Kubernetes client.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from . import formats

_SCHEMA_FILE = Path(__file__).with_name("data") / "pod_schema.json"
_INT32 = 2**31
_INT64 = 2**63
_SHOWN = 60


class Finding(NamedTuple):
    """What is wrong with a field, or only worth saying."""

    path: str
    """From the document's top: `spec.containers[0].image`."""
    what: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Findings:
    """Collects what is wrong with one pod, and what is only worth saying."""

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.all: list[Finding] = []

    @property
    def faults(self) -> list[str]:
        """What is wrong, as texts."""
        return [str(each) for each in self.all if not each.warning]

    @property
    def warnings(self) -> list[str]:
        """What is only worth saying, as texts."""
        return [str(each) for each in self.all if each.warning]

    def fault(self, path: str, what: str) -> None:
        """Note a fault of the field."""
        self.all.append(Finding(path, what))

    def warn(self, path: str, what: str) -> None:
        """Note something that does not hinder the pod."""
        self.all.append(Finding(path, what, warning=True))

    def unknown(self, path: str, what: str) -> None:
        """Note a field that no kubelet reads: a fault where the config is to be taken strictly."""
        self.all.append(Finding(path, what, warning=not self.strict))


def check(pod: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """Check a v1 Pod's shape and give a copy that has no null, no unknown and no mistyped field.

    The copy keeps lists' lengths, so that indexes in paths stay right; the rules can read it without looking at
    types again.
    """
    return _object(pod, "Pod", "", findings)


@cache
def _schema() -> dict[str, Any]:
    types: dict[str, Any] = json.loads(_SCHEMA_FILE.read_text(encoding="utf-8"))["types"]
    return types


def _object(value: dict[str, Any], type_name: str, path: str, findings: Findings) -> dict[str, Any]:
    definition = _schema()[type_name]
    fields = definition["fields"]
    refused = definition.get("refused", {})
    clean: dict[str, Any] = {}
    for name, item in value.items():
        if name not in fields:
            at = f"{path}.{name}" if path else name
            if name in refused:
                if item not in (None, "", [], {}) or (item == {} and refused[name][1]):
                    findings.fault(at, refused[name][0])
            elif item is not None or findings.strict:
                findings.unknown(at, _guess(name, type_name))
        elif item is not None:
            found = _field(item, fields[name], f"{path}.{name}" if path else name, findings)
            if found is not None:
                clean[name] = found
    for name in definition.get("required", ()):
        if value.get(name) in (None, "", []):
            empty = (
                ", and has no value here (a get_input that is not given?)"
                if name in value and value[name] is None
                else ""
            )
            findings.fault(f"{path}.{name}" if path else name, f"is required{empty}")
    if "one" in definition:
        _union(clean, definition["one"], value, path, findings)
    return clean


def _union(clean: dict[str, Any], one: list[Any], value: dict[str, Any], path: str, findings: Findings) -> None:
    names, required, also = one
    given = [name for name in names if name in clean]
    if len(given) > 1:
        findings.fault(path, f"has {' and '.join(given)}: only one of them can be")
    elif required and not given and not any(value.get(name) is not None for name in (*names, *also)):
        findings.fault(path, f"needs one of {', '.join(names)}")


def _field(value: Any, spec: Any, path: str, findings: Findings) -> Any:
    kind, limits = (spec, None) if isinstance(spec, str) else spec
    if kind[0] == "[":
        return _list(value, kind[1:], limits, path, findings)
    if kind[0] == "{":
        return _map(value, kind[1:], limits, path, findings)
    if kind in _SCALARS:
        return _SCALARS[kind](value, limits or {}, path, findings)
    if not isinstance(value, dict):
        return _mistyped(value, "a map", path, findings)
    return _object(value, kind, path, findings)


def _list(value: Any, kind: str, limits: Any, path: str, findings: Findings) -> Any:
    if not isinstance(value, list):
        return _mistyped(value, "a list", path, findings)
    filler: Any = {} if kind not in _SCALARS else "" if kind == "str" else 0
    clean = []
    for index, item in enumerate(value):
        at = f"{path}[{index}]"
        if item is None:
            findings.fault(at, 'is empty; remove it, or write "" where an empty text is meant')
            found = None
        else:
            found = _field(item, [kind, limits] if limits else kind, at, findings)
        clean.append(filler if found is None else found)
    return clean


def _map(value: Any, kind: str, limits: Any, path: str, findings: Findings) -> Any:
    if not isinstance(value, dict):
        return _mistyped(value, "a map", path, findings)
    clean = {}
    for key, item in value.items():
        at = f'{path}["{key}"]'
        if limits and "key" in limits:
            wrong = formats.CHECKS[limits["key"]](key.lower() if limits.get("lower") else key)
            if wrong:
                findings.fault(at, f"the key {wrong}")
        found = _SCALARS[kind]("" if item is None and kind == "str" else item, limits or {}, at, findings)
        if found is not None:
            clean[key] = found
    return clean


def _mistyped(value: Any, wanted: str, path: str, findings: Findings) -> Any:
    findings.fault(path, f"must be {wanted}, not {_shown(value)}")
    return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    return f"the text {json.dumps(value)[:_SHOWN]}" if isinstance(value, str) else f"the number {value!s:.40}"


def _text(value: Any, limits: dict[str, Any], path: str, findings: Findings) -> Any:
    if not isinstance(value, str):
        wanted = "text" if isinstance(value, (dict, list)) else "text (put it in quotes)"
        return _mistyped(value, wanted, path, findings)
    if value == "" and not limits.get("set"):
        return value
    if "enum" in limits and value not in limits["enum"]:
        findings.fault(path, f"must be one of {', '.join(limits['enum'])}, not {_shown(value)}")
        return None
    if "format" in limits:
        wrong = formats.CHECKS[limits["format"]](value)
        if wrong:
            findings.fault(path, f"{wrong}, not {_shown(value)}")
            return None
    return value


def _whole(value: Any, limits: dict[str, Any], path: str, findings: Findings, bits: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        mend = ", without quotes" if isinstance(value, str) and value.lstrip("-").isdigit() else ""
        return _mistyped(value, f"a whole number{mend}", path, findings)
    least, most = limits.get("min", -bits), limits.get("max", bits - 1)
    if not least <= value <= most and not (value == 0 and limits.get("zero")):
        findings.fault(path, f"must be from {least} to {most}, not {value!s:.40}")
        return None
    return value


def _int32(value: Any, limits: dict[str, Any], path: str, findings: Findings) -> Any:
    return _whole(value, limits, path, findings, _INT32)


def _int64(value: Any, limits: dict[str, Any], path: str, findings: Findings) -> Any:
    return _whole(value, limits, path, findings, _INT64)


def _bool(value: Any, _limits: dict[str, Any], path: str, findings: Findings) -> Any:
    if isinstance(value, bool):
        return value
    mend = ", without quotes" if isinstance(value, str) and value.lower() in ("true", "false") else ""
    return _mistyped(value, f"true or false{mend}", path, findings)


def _port(value: Any, _limits: dict[str, Any], path: str, findings: Findings) -> Any:
    if isinstance(value, str):
        return _text(value, {"format": "port-name", "set": True}, path, findings)
    if isinstance(value, bool) or not isinstance(value, int):
        return _mistyped(value, "a port's number or name", path, findings)
    return _whole(value, {"min": 1, "max": 65535}, path, findings, _INT32)


def _quantity(value: Any, limits: dict[str, Any], path: str, findings: Findings) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        if value is None:
            return 0
        return _mistyped(value, "a quantity such as 500m or 64Mi", path, findings)
    amount = formats.quantity(value)
    if amount is None:
        findings.fault(path, f"{formats.quantity_form(str(value))}, not {_shown(value)}")
        return None
    if amount < 0 and not limits.get("negative"):
        findings.fault(path, f"must not be negative, as {_shown(value)} is")
        return None
    return value


def _any(value: Any, _limits: dict[str, Any], _path: str, _findings: Findings) -> Any:
    return value


def _map_of_anything(value: Any, _limits: dict[str, Any], path: str, findings: Findings) -> Any:
    return value if isinstance(value, dict) else _mistyped(value, "a map", path, findings)


_SCALARS: dict[str, Any] = {
    "str": _text,
    "int": _int32,
    "long": _int64,
    "bool": _bool,
    "port": _port,
    "quantity": _quantity,
    "map": _map_of_anything,
    "any": _any,
}


def _guess(name: str, type_name: str) -> str:
    """Say that a field is unknown, and what may have been meant."""
    types = _schema()
    definition = types[type_name]
    known = definition["fields"]
    if name in definition.get("instead", {}):
        return f"unknown field; {definition['instead'][name]}"
    for other in known:
        if other.lower() == name.lower().replace("_", "").replace("-", ""):
            return f'unknown field; did you mean "{other}"? (upper and lower case count)'
    import difflib

    close = difflib.get_close_matches(name, [*known, *definition.get("refused", {})], 1, 0.7)
    if close:
        return f'unknown field; did you mean "{close[0]}"?'
    for place, elsewhere in _PLACES.items():
        if elsewhere != type_name and name in types[elsewhere]["fields"]:
            return f"unknown field; a field of this name belongs into {place}"
    return "unknown field"


_PLACES = {
    "spec": "PodSpec",
    "spec.containers[]": "Container",
    "metadata": "ObjectMeta",
    "spec.containers[].securityContext": "SecurityContext",
    "spec.securityContext": "PodSecurityContext",
    "spec.containers[].resources": "ResourceRequirements",
}
