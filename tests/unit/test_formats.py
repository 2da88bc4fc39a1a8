from __future__ import annotations

import pytest

from heat_config_kubelet import formats
from heat_config_kubelet.formats import CHECKS, NANO, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (0, 0),
        (2, 2 * NANO),
        (0.5, NANO // 2),
        ("1.", NANO),
        (".5", NANO // 2),
        ("+1", NANO),
        ("-1", -NANO),
        ("500m", NANO // 2),
        ("1u", 1000),
        ("1n", 1),
        ("0.1n", 1),
        ("0.0000000001", 1),
        ("1k", 1000 * NANO),
        ("1M", 10**6 * NANO),
        ("1E", 10**18 * NANO),
        ("1E3", 1000 * NANO),
        ("1e3", 1000 * NANO),
        ("1e+3", 1000 * NANO),
        ("1e-3", NANO // 1000),
        (1e21, 10**21 * NANO),
        (1e-7, 100),
        ("1Ki", 1024 * NANO),
        ("1.5Gi", 3 * 2**29 * NANO),
        ("1Ei", 2**60 * NANO),
        (" 1 ", NANO),
    ],
)
def test_quantity(text: str | int | float, value: int) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "k",
        "1K",
        "1KB",
        "1kb",
        "1GB",
        "1Gb",
        "1 Gi",
        "1e",
        "1ee3",
        "0x10",
        "1,5",
        "1.5.5",
        "1m1",
        "١",
        "nan",
        "1" * 101,
    ],
)
def test_no_quantity(text: str) -> None:
    assert quantity(text) is None
    assert formats.quantity_form(text)


GOOD = {
    "dns-label": ["a", "0", "a-b", "a" * 63],
    "dns-subdomain": ["a", "a.b", "a-b.0", "a" * 253],
    "search-domain": [".", "a.", "_a.b_c", "example.org"],
    "label-key": ["a", "A_b.c-d", "example.org/a", "a" * 63],
    "label-value": ["", "a", "A_b.c-d", "1"],
    "port-name": ["http", "a", "web-1", "a" * 15],
    "environment-name": ["A", "a b", "1", "$(x)", "~"],
    "header-name": ["X-A", "a", "-"],
    "sysctl-name": ["kernel.shm_rmid_forced", "net/ipv4/conf/eth0.1/a", "a"],
    "absolute-path": ["/", "/a/b", "/a..b"],
    "rooted-path": ["/", "/a/../b"],
    "relative-path": ["", "a/b", "a..b", "..a"],
    "local-path": ["a/b", "a..b"],
    "no-backsteps": ["/a", "a"],
    "ip-address": ["10.0.0.1", "::1", "2001:db8::ffff"],
    "image": [
        "app",
        "app:1.0",
        "docker.io/library/app:1",
        "localhost:5000/a/b_c/d__e/f-g.h:V1",
        "registry.example.org/a@sha256:" + "0" * 64,
        "a:b@sha256:" + "a" * 64,
        "[2001:db8::1]:5000/a",
        "UPPER.example.org/a",
    ],
    "time": ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"],
    "medium": ["", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"],
    "iscsi-name": ["iqn.2026-01.org.example:disk", "eui.0123456789abcdef", "naa." + "0" * 32],
    "quantity": ["1"],
}
BAD = {
    "dns-label": ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n", "ä"],
    "dns-subdomain": ["", "A", "a..b", ".a", "a.", "a-.b", "a" * 254, "a\n"],
    "search-domain": ["", "..", "-a", "A", "a b"],
    "label-key": ["", "/a", "a/", "a/b/c", "-a", "a b", "a" * 64, "A.b/c", "a/" + "b" * 64],
    "label-value": ["-", "a b", "a" * 64, "a/b"],
    "port-name": ["", "8080", "a" * 16, "A", "a--b", "-a", "a-", "1-2", "a_b"],
    "environment-name": ["", "a=b", "ä", "a\n", "\x7f"],
    "header-name": ["", "a b", "a_b", "ä"],
    "sysctl-name": ["", "a..b", ".a", "A", "a.b-", "a" * 254],
    "absolute-path": ["", "a", "/a/../b", ".."],
    "rooted-path": ["", "a"],
    "relative-path": ["/a", "a/..", ".."],
    "local-path": ["/a", "..a", "a/../b"],
    "no-backsteps": ["..", "/a/.."],
    "ip-address": ["", "a", "10.0.0", "10.0.0.256", "010.0.0.1", "::ffff:1.2.3.4", "fe80::1%eth0", "10.0.0.0/8"],
    "image": [
        "",
        " app",
        "app ",
        "App",
        "a/B",
        "a:",
        "a::b",
        "a@sha256:0",
        "a b",
        "https://a/b",
        "a:" + "b" * 129,
        "a//b",
        "-a",
    ],
    "time": ["", "2026-01-01", "2026-01-01 00:00:00", "now", "2026-01-01T00:00:00"],
    "medium": ["memory", "HugePages-", "HugePages-2MB", "tmpfs"],
    "iscsi-name": ["", "iqn", "iqn.2026-01.org", "iqn.26-01.org:a", "eui.0", "naa.0", "disk"],
    "quantity": ["x"],
}


def test_every_form_is_tested() -> None:
    assert GOOD.keys() == BAD.keys() == CHECKS.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_form(name: str, value: str) -> None:
    assert CHECKS[name](value) == ""


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_form(name: str, value: str) -> None:
    assert CHECKS[name](value).startswith(("must", "is text"))
