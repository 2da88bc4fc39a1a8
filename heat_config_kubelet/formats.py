"""The forms that names, paths, ports and quantities in a pod must have.

From Kubernetes: apimachinery/pkg/util/validation/validation.go, apimachinery/pkg/api/validate/content,
apimachinery/pkg/api/resource/quantity.go, and for images distribution/reference's regexp.go.
Each check takes a value of the right type and gives what is wrong with it, empty where nothing is.

Not for: which field has which form (see `schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SEARCH = re.compile(r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_ENVIRONMENT = re.compile(r"[ -<>-~]+")
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)")
_MEDIUM = re.compile(r"Memory|HugePages(-[0-9]+(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?)?")
_ISCSI = re.compile(
    r"iqn.*iqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+:[^,;*&$|\s]+|iqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+:[^,;*&$|\s]+"
    r"|eui.[A-Za-z0-9]{16}|naa.[A-Za-z0-9]{32}"
)
_IMAGE = re.compile(
    r"(?:(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)"
    r"(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_QUANTITY = re.compile(r"([-+]?)([0-9]*)(?:\.([0-9]*))?(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][-+]?[0-9]{1,3})?")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_MOST_DIGITS = 100

NANO = 10**9
"""The unit of `quantity`: what Kubernetes rounds to."""


def dns_label(value: str) -> str:
    """A DNS-1123 label, the form of a container's or a volume's name."""
    if len(value) <= 63 and _LABEL.fullmatch(value):
        return ""
    if len(value) > 63:
        return "must have at most 63 characters"
    return "must have only a-z, 0-9 and '-', and begin and end with a letter or digit"


def dns_subdomain(value: str) -> str:
    """A DNS-1123 subdomain, the form of a pod's name."""
    if len(value) <= 253 and _SUBDOMAIN.fullmatch(value):
        return ""
    if len(value) > 253:
        return "must have at most 253 characters"
    return "must have only a-z, 0-9, '-' and '.', and each part must begin and end with a letter or digit"


def search_domain(value: str) -> str:
    """A domain of a DNS search list; "." alone and a dot at the end are allowed."""
    if value == "." or (_SEARCH.fullmatch(value.removesuffix(".")) and len(value.removesuffix(".")) <= 253):
        return ""
    return "must be a domain of a-z, 0-9, '-', '_' and '.'"


def label_key(value: str) -> str:
    """A label's key or another qualified name: "name" or "domain/name"."""
    prefix, slash, name = value.rpartition("/")
    if slash and dns_subdomain(prefix):
        return "must have a domain of a-z, 0-9, '-' and '.' before the '/'"
    if len(name) > 63:
        return "must have at most 63 characters after the '/'" if slash else "must have at most 63 characters"
    if not _QUALIFIED.fullmatch(name):
        return "must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
    return ""


def label_value(value: str) -> str:
    """A label's value; it may be empty."""
    if len(value) > 63:
        return "must have at most 63 characters"
    if value and not _QUALIFIED.fullmatch(value):
        return "must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
    return ""


def port_name(value: str) -> str:
    """A port's name (IANA service name)."""
    if value.isdigit() and value.isascii():
        return "is text; write the number without quotes"
    if not value or len(value) > 15:
        return "must have 1 to 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", value):
        return "must have only a-z, 0-9 and '-'"
    if not re.search(r"[a-z]", value):
        return "must have at least one letter"
    if "--" in value or value[0] == "-" or value[-1] == "-":
        return "must not begin or end with '-', nor have two in a row"
    return ""


def environment_name(value: str) -> str:
    """The name of an environment variable (IsRelaxedEnvVarName)."""
    return "" if _ENVIRONMENT.fullmatch(value) else "must have only printable ASCII characters other than '='"


def header_name(value: str) -> str:
    """The name of an HTTP header."""
    return "" if _HEADER.fullmatch(value) else "must have only letters, digits and '-'"


def sysctl_name(value: str) -> str:
    """The name of a kernel parameter."""
    if len(value) <= 253 and _SYSCTL.fullmatch(value):
        return ""
    return "must be parts of a-z, 0-9, '-' and '_' joined by '.' or '/'"


def absolute_path(value: str) -> str:
    """An absolute path without "..", as hostPath wants it."""
    return no_backsteps(value) or ("" if value.startswith("/") else "must be an absolute path")


def rooted_path(value: str) -> str:
    """An absolute path, ".." allowed, as nfs wants it."""
    return "" if value.startswith("/") else "must be an absolute path"


def relative_path(value: str) -> str:
    """A relative path without ".."."""
    return "must be a relative path" if value.startswith("/") else no_backsteps(value)


def local_path(value: str) -> str:
    """A relative path below a volume, not beginning with ".."."""
    return relative_path(value) or ("must not begin with '..'" if value.startswith("..") else "")


def no_backsteps(value: str) -> str:
    """A path without ".."."""
    return "must not contain '..'" if ".." in value.split("/") else ""


def ip_address(value: str) -> str:
    """An IP address as kubelets from 1.36 on take it (StrictIPCIDRValidation)."""
    import ipaddress

    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return "must be an IP address, such as 10.9.8.7 or 2001:db8::ffff, without leading zeros"
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or "%" in value):
        return "must be a plain IP address, not IPv4 mapped into IPv6 nor with a zone"
    return ""


def image(value: str) -> str:
    """An image's reference: "registry/name:tag@digest"."""
    if value != value.strip():
        return "must not begin or end with white space"
    if _IMAGE.fullmatch(value):
        return ""
    return "must be [registry/]name[:tag][@digest], the name in lower case"


def time(value: str) -> str:
    """A time as RFC 3339 writes it."""
    return "" if _TIME.fullmatch(value) else "must be a time such as 2026-01-31T12:00:00Z"


def medium(value: str) -> str:
    """The medium of an emptyDir."""
    return "" if not value or _MEDIUM.fullmatch(value) else "must be Memory, HugePages or HugePages-<size>"


def iscsi_name(value: str) -> str:
    """An iSCSI qualified name."""
    return "" if _ISCSI.fullmatch(value) else "must be an iSCSI name: iqn.2026-01.com.example:disk, eui.… or naa.…"


def quantity(value: str | int | float) -> int | None:
    """Give a quantity ("500m", "1Gi", 2) in billionths, rounded up; None where it is none."""
    match = _QUANTITY.fullmatch(str(value).strip())
    if not match or len(match[0]) > _MOST_DIGITS:
        return None
    sign, whole, part, suffix = match[1], match[2], match[3] or "", match[4] or ""
    if not whole and not part:
        return None
    digits = int(whole + part)
    if suffix in _BINARY:
        amount, power = digits * NANO << _BINARY[suffix], -len(part)
    else:
        amount, power = digits * NANO, _power(suffix) - len(part)
    amount = amount * int(10**power) if power >= 0 else -(-amount // int(10**-power))
    return -amount if sign == "-" else amount


def _power(suffix: str) -> int:
    return _POWERS[suffix] if suffix in _POWERS else int(suffix[1:])


def quantity_form(value: str) -> str:
    """A quantity's form."""
    return "" if quantity(value) is not None else "must be a quantity such as 2, 0.5, 500m, 64Mi or 1Gi"


CHECKS: dict[str, Callable[[str], str]] = {
    "dns-label": dns_label,
    "dns-subdomain": dns_subdomain,
    "search-domain": search_domain,
    "label-key": label_key,
    "label-value": label_value,
    "port-name": port_name,
    "environment-name": environment_name,
    "header-name": header_name,
    "sysctl-name": sysctl_name,
    "absolute-path": absolute_path,
    "rooted-path": rooted_path,
    "relative-path": relative_path,
    "local-path": local_path,
    "no-backsteps": no_backsteps,
    "ip-address": ip_address,
    "image": image,
    "time": time,
    "medium": medium,
    "iscsi-name": iscsi_name,
    "quantity": quantity_form,
}
"""The checks by the name that the schema has for them."""
