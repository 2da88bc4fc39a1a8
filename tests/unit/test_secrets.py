"""Secrets are known by their names, and taken out of texts in every form in which programs print them."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus
from xml.sax import saxutils

import pytest
from samples import CFN_URL, PASSWORD, TEMP_URL, deployment

from heat_config_kubelet.result import signal_body
from heat_config_kubelet.secrets import Blanker, is_secret_name
from heat_config_kubelet.values import Result


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "dbPassword",
        "MYSQL_PASS",
        "passphrase",
        "client-secret",
        "apiKey",
        "API_KEY",
        "private_key",
        "SSH_KEYS",
        "AWSAccessKeyId",
        "token",
        "authToken",
        "credentials",
        "Signature",
        "temp_url_sig",
        "DB_PWD",
        "SESSION_COOKIE",
        "SENTRY_DSN",
    ],
)
def test_names_of_secrets_are_known_in_any_style(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "deploy_auth_url",
        "KEYSTONE_URL",
        "keyboard",
        "PWD",
        "image",
        "author",
        "pin_memory",
        "SignatureMethod",
        "deploy_user_id",
        "PASSENGER_COUNT",
        "compassion",
    ],
)
def test_ordinary_names_are_left_alone(name: str) -> None:
    assert not is_secret_name(name)


def test_the_signal_credentials_are_blanked_whole_and_in_parts() -> None:
    """Caches and logs of today's agents hold the passwords and signed URLs they signal with."""
    blank = Blanker.of(deployment("CFN_SIGNAL"))
    text = f"POST {CFN_URL} failed; Signature=PlantedSig/nature+123=; " + CFN_URL.partition("?")[2]
    assert blank.text(text) == "POST *** failed; Signature=***; ***"
    assert Blanker.of(deployment("TEMP_URL_SIGNAL")).text(f"<{TEMP_URL}> PlantedTempSig0123") == "<***> ***"
    assert PASSWORD not in Blanker.of(deployment("HEAT_SIGNAL")).text(f"with {PASSWORD}.")


@pytest.mark.parametrize(
    "form",
    [
        str,
        json.dumps,
        repr,
        quote_plus,
        lambda v: quote(v, safe=""),
        quote,
        lambda v: json.dumps(v, ensure_ascii=False),
        html.escape,
        saxutils.escape,
    ],
)
def test_encoded_forms_are_blanked(form) -> None:  # type: ignore[no-untyped-def]
    secret = 'pä"ss/w&rd <x>\\ 1'
    text = f"before {form(secret)} after"
    blanked = Blanker([secret]).text(text)
    assert "***" in blanked and "w&rd" not in blanked and "rd" not in blanked.replace("after", "")
    assert blanked.startswith("before ") and blanked.endswith(" after")


def test_env_variables_of_pods_are_blanked_by_their_names() -> None:
    manifest = {
        "spec": {
            "initContainers": [{"env": [{"name": "MIGRATION_TOKEN", "value": "tok-init-1"}]}],
            "containers": [
                {"env": [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "LEVEL", "value": "noisy-level"}]}
            ],
        }
    }
    blank = Blanker.of(deployment(), [manifest])
    assert blank.text("hunter22 tok-init-1 noisy-level") == "*** *** noisy-level"


def test_secrets_of_a_config_that_is_text_or_does_not_parse_are_found() -> None:
    config = (
        'spec: [\n  env:\n  - name: DB_PASSWORD\n    value: "from yaml 1"\n  - {name: API_TOKEN, value: flow-value-2}\n'
    )
    blank = Blanker.of(deployment(config=config + '{"name": "X_SECRET", "value": "json\\"value"}'))
    assert blank.text('from yaml 1, flow-value-2, json\\"value') == "***, ***, ***"


@pytest.mark.parametrize(
    "config",
    [
        "env:\n- value: planted-value 1\n  name: DB_PASSWORD\n",
        "env:\n- {value: planted-value 1, name: DB_PASSWORD}\n",
        '{"env": [{"value": "planted-value 1", "name": "DB_PASSWORD"}]}',
        "env:\n- name: DB_PASSWORD\n  value: |\n    planted-value 1\n",
        "env:\n- name: DB_PASSWORD\n  value: >-\n    planted-value\n    1\n",
        "env:\n- name: DB_PASSWORD\n  # what it is\n  value: planted-value 1\n",
        "env:\n- name: DB_PASSWORD  # what it is\n  value: planted-value 1\n",
        'env:\n- name: DB_PASSWORD\n  value: "planted\\x2dvalue\\u00201"\n',
        'env:\n- name: "DB\\x5fPASSWORD"\n  value: planted-value 1\n',
        "env:\n- name: OTHER\n  value: &it planted-value 1\n- name: DB_PASSWORD\n  value: *it\n",
        "env:\n- &it {value: planted-value 1}\n- <<: *it\n  name: DB_PASSWORD\n",
        "a: 1\n---\nenv:\n- value: planted-value 1\n  name: DB_PASSWORD\n",
    ],
)
def test_no_way_to_write_a_config_as_text_hides_its_secrets_from_a_signal(config: str) -> None:
    of = deployment(config=config)
    body = signal_body(Result(1, "it is planted-value 1", "planted-value 1!"), of, Blanker.of(of), 10000)
    told = json.loads(body)
    assert (told["deploy_stdout"], told["deploy_stderr"]) == ("it is ***", "***!")


def test_secrets_of_another_groups_config_that_is_text_are_found_by_their_keys() -> None:
    assert (
        Blanker.of(deployment(group="ansible", config="vars:\n  db_password: planted-1\n")).text("planted-1") == "***"
    )


def test_fields_of_pods_that_only_name_things_are_not_secrets() -> None:
    config = {"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready"}], "secretName": "registry-login"}}
    blank = Blanker.of(deployment(config=config))
    assert blank.text("node.kubernetes.io/not-ready registry-login") == "node.kubernetes.io/not-ready registry-login"


def test_secrets_inside_structured_inputs_and_other_groups_configs_are_found() -> None:
    found = Blanker.of(
        deployment(
            group="script",
            inputs={"db": {"admin_password": "nested-pass-1"}, "tokens": ["tok-aaaa-1", "tok-bbbb-2"]},
            config={"mysql": {"root_password": "structured-2"}},
        )
    )
    assert found.text("nested-pass-1 tok-aaaa-1 tok-bbbb-2 structured-2") == "*** *** *** ***"


def test_each_line_of_a_value_of_several_lines_is_blanked() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    blank = Blanker.of(deployment(inputs={"tls_key": key}))
    assert blank.text(f"whole: {key.strip()}.") == "whole: ***."
    assert blank.text("line 2: MIIBVgIBADANBgkq") == "line 2: ***"


def test_trivial_and_short_values_do_not_blank_ordinary_text() -> None:
    blank = Blanker(["abc", "true", "3600", "", "   ", "root"])
    assert blank.text("abc true 3600 rootfs chroot") == "abc true 3600 rootfs chroot"
    assert blank.text("user=root, root") == "user=***, ***"


def test_a_secret_that_begins_with_another_is_blanked_whole() -> None:
    assert Blanker(["longsecret", "longsecret-and-more"]).text("longsecret-and-more") == "***"


def test_values_are_blanked_all_the_way_down() -> None:
    blank = Blanker(["hunter22", "123456789"])
    given = {"a": ["x hunter22", {"hunter22": 1}], "n": 123456789, "t": True, "none": None, "f": 1.5}
    assert blank.value(given) == {"a": ["x ***", {"***": 1}], "n": "***", "t": True, "none": None, "f": 1.5}


def test_two_blankers_make_one_and_none_changes_nothing() -> None:
    assert (Blanker(["first-secret"]) + Blanker(["second-secret"])).text("first-secret second-secret") == "*** ***"
    assert Blanker().text("anything") == "anything"


def test_a_url_that_is_not_signed_stays_readable() -> None:
    plain = Blanker.of(deployment(inputs={"deploy_signal_id": "http://user:planted-pw@heat.example/signal"}))
    assert plain.text("http://heat.example/signal planted-pw") == "http://heat.example/signal ***"
    assert Blanker.of(deployment(inputs={"deploy_signal_id": "http://[x?s=1"})).text("to http://[x?s=1") == "to ***"


def test_a_manifest_alone_tells_its_secrets() -> None:
    manifest = {"spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "planted-5a7b"}]}]}}
    assert Blanker.pairs(manifest).text("it said planted-5a7b") == "it said ***"
    assert Blanker.pairs({}).text("planted-5a7b") == "planted-5a7b"
