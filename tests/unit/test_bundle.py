"""What is packed for a bug report: no secret by value, by form or by name, bounded, whole or not at all."""

from __future__ import annotations

import io
import json
import random
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from samples import CFN_URL, PASSWORD, deployment

from heat_config_kubelet import bundle, node_secrets
from heat_config_kubelet.bundle import clean, written
from heat_config_kubelet.secrets import BLANK, Blanker, by_name

NOW = 1_795_000_000.0
PLANTED = "planted-Value/7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"PUT https://swift.example/v1/o?temp_url_sig={PLANTED}&x=1 200", "PUT https://swift.example/v1/o?*** 200"),
        (f'"url": "http://u:{quote(PLANTED, safe="")}@proxy.example:3128/"', '"url": "http://***@proxy.example:3128/"'),
        (f"X-Auth-Token: {PLANTED}", "X-Auth-Token: ***"),
        (f'{{"Authorization": "Bearer {PLANTED}", "a": 1}}', '{"Authorization": "***", "a": 1}'),
        (f"a\n-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"),
        (f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\ncut", "***"),
        ("http://heat.example/v1/stacks no secret?", "http://heat.example/v1/stacks no secret?"),
    ],
)
def test_what_has_the_form_of_a_secret_is_left_out(text: str, shown: str) -> None:
    assert clean(text, Blanker()) == shown


def test_a_long_text_is_blanked_as_a_short_one_is() -> None:
    """Of a long one only the secrets that are in it are looked for; the longest of them first."""
    values = ["planted-one-1", "planted-one-1-and-more", 'quo"ted secret', "short1"]
    blanker = Blanker(values)
    rng = random.Random(3)
    words = [*values, "planted", "short12", 'quo\\"ted secret', "ordinary"]
    lines = [" ".join(rng.choices(words, k=4)) for _ in range(500)]
    long = blanker.text("\n".join(lines))
    assert len("\n".join(lines)) > 4096 and long == "\n".join(blanker.text(line) for line in lines)
    assert not any(value in long for value in values[:3]) and "short12" in long


def test_what_stands_under_a_secret_name_is_known_and_so_are_urls_that_are_signed() -> None:
    blanker = Blanker.under_names(
        {"heat": {"password": PLANTED, "user_id": "user-id-1"}, "request": {"metadata_url": (CFN_URL,)}}
    )
    assert blanker.text(f"{PLANTED} user-id-1") == f"{BLANK} user-id-1"
    assert "PlantedSig" not in blanker.text(CFN_URL)


def test_by_name_even_what_is_too_short_to_be_found_in_texts_is_left_out() -> None:
    entry: dict[str, Any] = {
        "inputs": [
            {"name": "db_password", "value": "ab"},
            {"name": "size", "value": 3},
            {"name": "token", "value": ""},
        ],
        "options": {"api_key": 7, "nested": [{"secret": {"a": 1}}]},
    }
    assert by_name(entry, keys=True) == {
        "inputs": [
            {"name": "db_password", "value": BLANK},
            {"name": "size", "value": 3},
            {"name": "token", "value": ""},
        ],
        "options": {"api_key": BLANK, "nested": [{"secret": BLANK}]},
    }
    pod = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    assert by_name(pod, keys=False) == pod, "in a pod they name things"


def test_secrets_are_known_from_wherever_they_were_left(tmp_path: Path) -> None:
    cache, deployed, manifests = (tmp_path / name for name in ("cache", "deployed", "manifests"))
    for folder in (cache, deployed, manifests):
        folder.mkdir()
    (cache / "heat.json").write_text(
        json.dumps({"os-collect-config": {"heat": {"password": "in-the-metadata"}}, "deployments": [{"bad": 1}, 7]})
    )
    (cache / "cfn.json").write_text(json.dumps({"deployments": [dict(deployment().raw)]}))
    (cache / "damaged.json").write_text('{"deployments": [')
    (cache / "binary").write_bytes(b"\xff\xfe")
    (deployed / "x.json").write_text(json.dumps(dict(deployment("HEAT_SIGNAL").raw)))
    (manifests / "proxy.yaml").write_text("spec: {containers: [{env: [{name: API_TOKEN, value: in-a-foreign-pod}]}]}")
    blanker = node_secrets.known(
        [],
        cache=cache,
        deployed_dir=deployed,
        manifest_dir=manifests,
        collector={"heat": {"password": ("in-the-settings",)}},
        environment={"https_proxy": "http://u:in-the-proxy@p.example", "HOME": "/root"},
    )
    texts = ("in-the-metadata", CFN_URL, PASSWORD, "in-a-foreign-pod", "in-the-settings", "in-the-proxy")
    assert [text for text in texts if blanker.text(text) == text] == []
    assert blanker.text("/root") == "/root"


def members(file: Path) -> dict[str, str]:
    """Every text of a tar by its name without the folder."""
    with tarfile.open(file) as tar:
        return {each.name.partition("/")[2]: (tar.extractfile(each) or io.BytesIO()).read().decode() for each in tar}


def test_of_what_is_too_long_the_end_is_packed_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_EACH", 1000)
    monkeypatch.setattr(bundle, "MOST_ALL", 1500)
    lines = "".join(f"line {number:04}\n" for number in range(200))
    with written(tmp_path / "a.tar.gz", "a", Blanker(), NOW) as tar:
        tar.add("first", lines)
        tar.add("second", lines)
        tar.add("third", lines)
        tar.add_index("head")
    found = members(tmp_path / "a.tar.gz")
    assert (
        found["first"].startswith("[the first 1000 bytes of 2000 were left out]\nline 0") and len(found["first"]) < 1100
    )
    assert found["first"].endswith("line 0199\n") and found["second"].endswith("line 0199\n")
    assert len(found["second"]) < 600 and found["third"] == "[the first 2000 bytes of 2000 were left out]\n"
    assert found["INDEX.txt"].startswith("head\n") and found["INDEX.txt"].count("were left out") == 3


def test_a_secret_at_the_cut_is_not_left_in_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_EACH", 10)
    with written(tmp_path / "a.tar.gz", "a", Blanker([PLANTED]), NOW) as tar:
        tar.add(f"log-{PLANTED}", f"before\n{PLANTED} tail")
    found = members(tmp_path / "a.tar.gz")
    assert found == {"log-***": "[the first 5 bytes of 15 were left out]\n*** tail"}


def write_and_fail(file: Path) -> None:
    with written(file, "a", Blanker(), NOW) as tar:
        tar.add("x", "z")
        raise ZeroDivisionError


def test_the_file_is_for_its_owner_alone_and_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    with written(file, "a", Blanker(), NOW) as tar:
        tar.add("x", "y")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as opened:
        assert {(each.mode, each.mtime) for each in opened} == {(0o600, NOW)}
    before = file.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_and_fail(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
