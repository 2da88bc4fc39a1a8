"""Results for a person and for Heat, and what of them goes into a signal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from samples import CFN_URL, PASSWORD, container, deployment, pod, pod_status

from heat_config_kubelet import result as results
from heat_config_kubelet.secrets import Blanker
from heat_config_kubelet.signals import body_limit
from heat_config_kubelet.values import ContainerState, Deployment, PodKey, Result

LIMIT = body_limit("CFN_SIGNAL")
NOTHING = Blanker()


def body(
    result: Result, wanted: Deployment | None = None, *, limit: int = LIMIT, blank: Blanker = NOTHING
) -> dict[str, Any]:
    data = results.signal_body(result, wanted or deployment(), blank, limit)
    assert len(data) <= limit
    found: dict[str, Any] = json.loads(data)
    return found


# --- results of pods


def test_success_is_a_table_of_the_pods() -> None:
    lines = [
        (
            pod("web", images=("nginx:1.27", "busybox:1")),
            pod_status("web", container("c0", restarts=2), container("c1")),
        ),
        (pod("database", namespace="data"), None),
    ]
    found = results.success(deployment(), lines, warnings=["a field is unknown"])
    assert found.stdout.splitlines() == [
        "POD            READY  STATE    RESTARTS  IP        IMAGES",
        "default/web    2/2    Running  2         10.0.0.5  nginx:1.27,busybox:1",
        "data/database  0/1    NotSeen  0         -         nginx:1",
    ]
    assert (found.status_code, found.stderr, found.outputs) == (0, "a field is unknown", {})


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (
            pod_status("w", container(state=ContainerState.WAITING, ready=False, reason="ImagePullBackOff")),
            "ImagePullBackOff",
        ),
        (
            pod_status("w", container(state=ContainerState.WAITING, reason="CrashLoopBackOff", init=True)),
            "Init:CrashLoopBackOff",
        ),
        (pod_status("w", container(state=ContainerState.TERMINATED, exit_code=3)), "Exit:3"),
        (pod_status("w", container(state=ContainerState.TERMINATED, exit_code=137, reason="OOMKilled")), "OOMKilled"),
        (pod_status("w", reason="Evicted", phase="Failed"), "Evicted"),
        (pod_status("w", phase=""), "Unknown"),
    ],
)
def test_the_table_says_what_a_pod_is_in(status: Any, state: str) -> None:
    assert state in results.success(deployment(), [(pod("w"), status)]).stdout.splitlines()[1].split()


def test_failure_ends_with_the_decisive_reason() -> None:
    wanted = deployment(error_outputs=("why", "error"), outputs=("pods",))
    found = results.failure(
        wanted,
        [(pod(), None)],
        ["default/web waits", "default/web: no such image"],
        logs="log 1\nlog 2\n",
        warnings=["w"],
    )
    assert found.status_code == 1
    assert found.stderr.splitlines() == ["w", "log 1", "log 2", "default/web waits", "default/web: no such image"]
    assert found.outputs["why"] == found.outputs["error"] == "default/web: no such image; default/web waits"
    assert json.loads(found.outputs["pods"]) == [{"namespace": "default", "name": "web", "ready": False}]


def test_an_error_output_is_absent_on_success() -> None:
    """Heat takes an error output that is present, even empty, for a failure."""
    wanted = deployment(error_outputs=("why", "pods"))
    for found in (
        results.success(wanted, [(pod(), pod_status())]),
        results.removed(wanted, []),
        results.nothing_to_do(wanted, "no tool"),
    ):
        assert set(body(found, wanted)) == {"deploy_stdout", "deploy_stderr", "deploy_status_code"}
        assert body(found, wanted)["deploy_status_code"] == 0


def test_known_outputs_are_filled_where_they_are_declared() -> None:
    wanted = deployment(outputs=("pods", "pod_ip", "host_ip", "mine"))
    lines = [(pod("a"), pod_status("a", container(), pod_ip="")), (pod("b"), pod_status("b", container(restarts=1)))]
    found = results.success(wanted, lines).outputs
    assert (found["pod_ip"], found["host_ip"]) == ("10.0.0.5", "192.0.2.1")
    assert "mine" not in found
    first, second = json.loads(found["pods"])
    assert (first["name"], first["pod_ip"], second["restarts"]) == ("a", "", 1)
    assert second["containers"][0]["state"] == "running"
    assert set(results.success(deployment(outputs=("pod_ip",)), lines).outputs) == {"pod_ip"}


def test_removal_names_what_is_gone() -> None:
    wanted = deployment(inputs={"deploy_action": "DELETE"})
    assert results.removed(wanted, [PodKey("a", "b"), PodKey("a", "c")]).stdout == "DELETE: removed a/b, a/c"
    assert results.removed(wanted, []).stdout == "DELETE: no pod was there"
    assert results.nothing_to_do(wanted, "no tool for it").stdout == "DELETE: no tool for it"


# --- hooks


def hook(stdout: bytes, code: int = 0, stderr: bytes = b"err", **fields: Any) -> Result:
    return results.from_hook(deployment(group="script", **fields), code, stdout, stderr)


def test_a_hooks_json_is_its_outputs_and_answer() -> None:
    found = hook(
        b'{"deploy_stdout": "o", "deploy_stderr": "e", "deploy_status_code": 3, "r": {"a": [1]}, "x": 1}',
        outputs=("r",),
    )
    assert found == Result(3, "o", "e", {"r": {"a": [1]}})


def test_a_hook_that_fails_after_its_answer_has_failed() -> None:
    assert hook(b'{"deploy_stdout": "o"}', 4).status_code == 4
    assert hook(b'{"deploy_stdout": "o", "deploy_status_code": 0}', 4).status_code == 0


@pytest.mark.parametrize("stdout", [b"plain text", b"[1, 2]", b'"text"', b"12", b"null", b"{broken", b"[" * 100000])
@pytest.mark.parametrize("code", [0, 2, -15])
def test_what_is_no_json_object_is_taken_as_text(stdout: bytes, code: int) -> None:
    found = hook(stdout, code, b"e\xffrr")
    assert found == Result(code, stdout.decode(), "e\N{REPLACEMENT CHARACTER}rr")


def test_a_silent_hook_has_succeeded_or_says_its_error() -> None:
    assert hook(b"") == Result(0, "", "")
    assert hook(b"", 1) == Result(1, "", "err")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("0", 0),
        ('"0"', 0),
        ("null", 0),
        ('""', 0),
        ("false", 0),
        ("0.0", 0),
        ("1", 1),
        ('"7"', 7),
        ("-15", -15),
        ("true", 1),
        ('"abc"', 1),
        ("[1]", 1),
        ("2.5", 1),
    ],
)
def test_status_codes_are_read_as_heat_reads_them(given: str, code: int) -> None:
    assert hook(b'{"deploy_status_code": %s}' % given.encode()).status_code == code


def test_odd_values_of_a_hook_are_still_json() -> None:
    found = hook(b'{"deploy_stdout": {"a": 1}, "deploy_stderr": null, "r": NaN, "s": 1e999}', outputs=("r", "s"))
    assert (found.stdout, found.stderr) == ('{"a": 1}', "")
    assert body(found, deployment(group="script", outputs=("r", "s"))) == {
        "r": "NaN",
        "s": "inf",
        "deploy_stdout": '{"a": 1}',
        "deploy_stderr": "",
        "deploy_status_code": 0,
    }


# --- bodies


def test_only_declared_outputs_are_sent_and_never_unset_hook() -> None:
    wanted = deployment(outputs=("a", "unset_hook"))
    found = body(Result(0, "o", "e", {"a": 1, "b": 2, "unset_hook": "pre-create"}), wanted)
    assert found == {"a": 1, "deploy_stdout": "o", "deploy_stderr": "e", "deploy_status_code": 0}


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL", "TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
@pytest.mark.parametrize("text", ["x", "ä", "\N{GRINNING FACE}", '\\"\n', "\x1b\x00", "日本語 text\n"])
def test_large_output_is_trimmed_to_its_end(transport: str, text: str) -> None:
    """Above about 1 MB Heat refuses a signal, Zaqar above 256 KiB; today's trimming fails on Python 3."""
    limit = body_limit(transport)
    found = body(Result(1, text * 560_000 + "OUT", text * 560_000 + "THE REASON"), limit=limit)
    assert found["deploy_stdout"].endswith("OUT") and found["deploy_stderr"].endswith("THE REASON")
    notice = found["deploy_stderr"].splitlines()[0]
    kept = found["deploy_stderr"].removeprefix(notice + "\n")
    whole = (text * 560_000 + "THE REASON").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert whole.endswith(kept)
    assert notice == f"[{len(whole.encode()) - len(kept.encode())} bytes cut here]"
    assert len(json.dumps(found)) > limit * 0.95


def test_a_small_text_leaves_its_room_to_the_other() -> None:
    found = body(Result(1, "short", "y" * 2_000_000))
    assert found["deploy_stdout"] == "short"
    assert len(found["deploy_stderr"]) > LIMIT - 500
    found = body(Result(1, "y" * 2_000_000, "short"))
    assert found["deploy_stderr"] == "short"
    assert len(found["deploy_stdout"]) > LIMIT - 500


@pytest.mark.parametrize("size", range(900, 1100, 7))
def test_no_body_is_over_its_limit(size: int) -> None:
    wanted = deployment(outputs=("a",))
    for limit in (600, 1000, 1024):
        body(Result(1, "ä" * size, "\n" * size, {"a": "b" * 40}), wanted, limit=limit)


def test_other_outputs_are_cut_only_where_nothing_else_helps() -> None:
    wanted = deployment(outputs=("small", "big", "bigger"))
    given = {"small": {"a": 1}, "big": "b" * 600_000, "bigger": ["c" * 700_000]}
    found = body(Result(0, "o" * 10, "e" * 1_000_000, given), wanted)
    assert found["small"] == {"a": 1} and found["big"] == given["big"]
    assert found["bigger"].startswith("[") and "bytes cut here]" in found["bigger"][:40]
    assert found["deploy_stdout"] == "o" * 10


def test_an_error_output_is_short() -> None:
    wanted = deployment(error_outputs=("why",))
    found = body(results.failure(wanted, [], ["r" * 100_000]), wanted)
    assert len(found["why"]) < 4200 and found["why"].startswith("rrr") and "cut here" in found["why"]
    assert found["deploy_stderr"] == "r" * 100_000


def test_texts_that_no_database_takes_are_made_harmless() -> None:
    wanted = deployment(outputs=("a",), error_outputs=("why",))
    found = body(Result(1, "nul\x00", "lone\ud800", {"a": {"\x00": ["\udfff"]}, "why": "\x00"}), wanted)
    assert "\x00" not in str(found) and "\\ud" not in json.dumps(found)


# --- secrets


def planted(**fields: Any) -> Deployment:
    config = {"spec": {"containers": [{"env": [{"name": "APP_SECRET", "value": "env-secret-1"}]}]}}
    inputs = {"db_password": PASSWORD, "api_token": {"value": ["nested-token-9"]}}
    return deployment(**{"config": config, "inputs": inputs, "outputs": ("pods",), "error_outputs": ("why",), **fields})


PLANTED = ("PlantedSig", "env-secret-1", PASSWORD, PASSWORD.replace(" ", "+"), "nested-token-9")


def test_no_secret_is_in_any_result_that_is_signalled() -> None:
    """Passwords and signed URLs ended up in logs and signals."""
    wanted = planted()
    blank = Blanker.of(wanted)
    text = f"started with {PASSWORD} env-secret-1 {CFN_URL} {json.dumps(['nested-token-9'])}"
    status = pod_status("w", container(state=ContainerState.WAITING, reason=text, ready=False), reason=text)
    lines = [(pod("w", images=(f"registry/{PASSWORD}",)), status)]
    hooks = json.dumps({"deploy_stderr": text, "why": text}).encode()
    for found in (
        results.success(wanted, lines, warnings=[text]),
        results.failure(wanted, lines, [text], logs=text, warnings=[text]),
        results.refused(wanted, [text]),
        results.nothing_to_do(wanted, text),
        results.from_hook(planted(group="script"), 1, text.encode(), text.encode()),
        results.from_hook(planted(group="script"), 1, hooks, b""),
    ):
        for data in (
            results.signal_body(found, wanted, blank, LIMIT).decode(),
            json.dumps(results.hook_answer(found, wanted, blank)),
        ):
            assert "***" in data
            assert not [secret for secret in PLANTED if secret in data]


@pytest.mark.parametrize("shift", range(0, 60, 3))
def test_a_secret_at_the_cut_is_blanked_before_it_is_cut(shift: int) -> None:
    wanted = planted()
    secret = "S" * 10 + "E" * 10 + "C" * 10
    text = "." * 5000 + secret + "." * (900 + shift)
    data = results.signal_body(Result(1, "", text), wanted, Blanker([secret]), 1050).decode()
    assert "CCC" not in data


def test_outputs_of_other_groups_hooks_are_the_templates_own_data() -> None:
    wanted = planted(group="script", outputs=("url",))
    given = Result(0, PASSWORD, "", {"url": f"mysql://u:{PASSWORD}@h, {CFN_URL}"})
    found = body(given, wanted, blank=Blanker.of(wanted))
    assert found["url"] == f"mysql://u:{PASSWORD}@h, ***"
    assert found["deploy_stdout"] == "***"


def test_what_heat_agents_takes_is_never_trimmed_by_it() -> None:
    wanted = deployment(error_outputs=("why",))
    found = results.hook_answer(results.failure(wanted, [], ["ä" * 2_000_000 + "END"]), wanted, NOTHING)
    assert len(json.dumps(found)) <= 950000
    assert found["deploy_status_code"] == 1 and found["deploy_stderr"].endswith("END") and "why" in found
