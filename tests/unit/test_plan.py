"""What is to be done, from what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support import file_of, identity, make_entry, make_row, pod_map, pods_of_entry, raw_entry

from heat_config_kubelet.manifest_dir import Found
from heat_config_kubelet.plan import Plan, Task, make_plan, owner_of
from heat_config_kubelet.store import DONE, REMOVING, WRITING, Entry, PodRow
from heat_config_kubelet.values import Identity, PodKey

T1, T2, T3 = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"
WEB = PodKey("default", "web")


def plan(
    *entries: Entry,
    rows: Sequence[PodRow] = (),
    files: Sequence[Found] | None = None,
    answered: frozenset[str] = frozenset({"heat"}),
    kubelet_only: bool = False,
) -> Plan:
    found = [file_of(row) for row in rows if row.phase != REMOVING] if files is None else files
    return make_plan(entries, rows, found, answered, pods_of_entry, kubelet_only=kubelet_only)


def rows_of(entry: Entry, **fields: Any) -> list[PodRow]:
    return [
        make_row(pod, entry.deployment.identity, uid=f"uid-{pod.key.name}", **fields) for pod in pods_of_entry(entry)
    ]


def removed(found: Plan) -> list[str]:
    return [row.key.name for row in found.remove]


def written(found: Plan) -> list[tuple[str, str]]:
    return [(pod.key.name, entry.deployment.id) for pod, entry in found.write]


def several(*names: str, image: str = "registry.example/app:1") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [pod_map(name, image) for name in names]}


# --- which entry owns an identity's pods


def test_the_newest_entry_owns_the_pods() -> None:
    old, new = make_entry(raw_entry("old", created=T1), 2), make_entry(raw_entry("new", created=T2), 1)
    assert owner_of([old, new]) is new and owner_of([new, old]) is new


def test_of_two_entries_of_one_second_the_later_seen_owns_them() -> None:
    """Heat's times have a resolution of a second."""
    first, second = make_entry(raw_entry("a"), 1), make_entry(raw_entry("b"), 2)
    assert owner_of([second, first]) is second


def test_a_delete_owns_nothing_however_late_it_is() -> None:
    """The DELETE of a replaced deployment comes with a later creation_time than its successor's."""
    new = make_entry(raw_entry("new", created=T2), 1)
    old = make_entry(raw_entry("old", action="DELETE", created=T3), 2)
    assert owner_of([new, old]) is new and owner_of([old]) is None and owner_of([]) is None


def test_a_pod_that_is_to_be_replaced_goes_where_its_owner_wants_it_still() -> None:
    entry = make_entry(raw_entry("a"), state=DONE)
    row = replace(rows_of(entry)[0], outgoing=True)
    assert removed(plan(entry, rows=[row])) == ["web"] and plan(entry, rows=[row]).blocked == {WEB}
    refused = make_entry(raw_entry("b", config=pod_map(image="bad image")))
    assert removed(plan(refused, rows=[row])) == [], "nobody could make it again"
    assert removed(plan(rows=[row], answered=frozenset())) == []


# --- a deployment's life


def test_create_writes_its_pods() -> None:
    entry = make_entry(raw_entry("a", config=several("web", "db")))
    found = plan(entry)
    assert written(found) == [("web", "a"), ("db", "a")] and removed(found) == []
    assert found.tasks == {"a": Task.RUN_PODS} and not found.blocked


@pytest.mark.parametrize("action", ["UPDATE", "RESUME", "CREATE"])
def test_an_action_that_changes_nothing_touches_nothing(action: str) -> None:
    before = make_entry(raw_entry("a", config=several("web", "db")))
    after = make_entry(raw_entry("b", action=action, config=several("web", "db")), 2)
    found = plan(after, rows=rows_of(before))
    assert (removed(found), written(found)) == ([], []) and found.tasks == {"b": Task.RUN_PODS}


def test_only_the_changed_pods_of_a_deployment_are_replaced() -> None:
    before = make_entry(raw_entry("a", config=several("web", "db", "old")))
    config = several("web", "db", "new")
    config["items"][1] = pod_map("db", "registry.example/app:2")
    found = plan(make_entry(raw_entry("b", action="UPDATE", config=config), 2), rows=rows_of(before))
    assert sorted(removed(found)) == ["db", "old"]
    assert written(found) == [("new", "b")] and found.blocked == {PodKey("default", "db")}


def test_a_pod_is_written_anew_only_when_the_former_one_is_gone() -> None:
    before = make_entry(raw_entry("a"))
    after = make_entry(raw_entry("b", action="UPDATE", config=pod_map(image="registry.example/app:2")), 2)
    going = [replace(row, phase=REMOVING) for row in rows_of(before)]
    found = plan(after, rows=going)
    assert (removed(found), written(found)) == ([], []) and found.blocked == {WEB}
    assert written(plan(after)) == [("web", "b")]


@pytest.mark.parametrize("action", ["SUSPEND", "DELETE"])
def test_suspend_and_delete_remove_the_pods(action: str) -> None:
    before = make_entry(raw_entry("a", config=several("web", "db")))
    after = make_entry(raw_entry("b", action=action, config=several("web", "db")), 2)
    found = plan(after, rows=rows_of(before))
    assert sorted(removed(found)) == ["db", "web"] and written(found) == []
    assert found.tasks == {"b": Task.REMOVE_PODS}


def test_a_suspended_deployment_stays_without_pods_and_resume_brings_them_back() -> None:
    suspended = make_entry(raw_entry("a", action="SUSPEND", created=T1), 1, state=DONE)
    assert plan(suspended) == Plan({}, {}, {}, (), ())
    resumed = make_entry(raw_entry("b", action="RESUME", created=T2), 2)
    assert written(plan(suspended, resumed)) == [("web", "b")]


def test_a_delete_reads_no_config() -> None:
    """It may be what removes a deployment whose config never made sense."""
    found = plan(make_entry(raw_entry("a", action="DELETE", config="{")))
    assert found.tasks == {"a": Task.REMOVE_PODS} and not found.faults


def test_what_is_decided_is_kept_up_without_a_task() -> None:
    entry = make_entry(raw_entry("a"), state=DONE)
    found = plan(entry)
    assert not found.tasks and written(found) == [("web", "a")]


def test_what_vanished_goes_when_its_source_has_answered() -> None:
    rows = rows_of(make_entry(raw_entry("a")))
    assert removed(plan(rows=rows)) == ["web"]


def test_after_a_lost_store_nothing_goes_before_its_source_has_answered() -> None:
    rows = rows_of(make_entry(raw_entry("a")))
    assert removed(plan(rows=rows, answered=frozenset({"heat_local"}))) == []
    assert removed(plan(rows=rows, answered=frozenset())) == []


# --- a deployment being replaced: two entries of one identity


def test_the_successors_content_is_followed_and_the_failed_one_superseded() -> None:
    old = make_entry(raw_entry("old", created=T1, config=pod_map(image="bad:1")), 1, state=DONE)
    new = make_entry(raw_entry("new", created=T2), 2)
    found = plan(old, new, rows=rows_of(old))
    assert removed(found) == ["web"] and found.blocked == {WEB} and found.tasks == {"new": Task.RUN_PODS}
    undecided = plan(replace(old, state="wanted"), new)
    assert undecided.tasks == {"old": Task.SUPERSEDED, "new": Task.RUN_PODS}


def test_the_old_ones_delete_touches_no_pod() -> None:
    new = make_entry(raw_entry("new", created=T2), 1, state=DONE)
    old = make_entry(raw_entry("old", action="DELETE", created=T3, config=pod_map(image="bad:1")), 2)
    found = plan(new, old, rows=rows_of(new))
    assert (removed(found), written(found)) == ([], []) and found.tasks == {"old": Task.ANSWER_ONLY}


def test_when_the_newer_one_vanishes_the_older_content_returns() -> None:
    old = make_entry(raw_entry("old", created=T1), 1, state=DONE)
    new = make_entry(raw_entry("new", created=T2, config=pod_map(image="registry.example/app:2")), 2)
    found = plan(old, rows=rows_of(new))
    assert removed(found) == ["web"] and found.blocked == {WEB}
    assert written(plan(old)) == [("web", "old")]


def test_entries_of_one_name_in_two_stacks_are_two() -> None:
    one = make_entry(raw_entry("a", config=pod_map("one")), 1)
    two = make_entry(raw_entry("b", stack="other/1", config=pod_map("two")), 2)
    found = plan(one, two)
    assert written(found) == [("one", "a"), ("two", "b")] and set(found.tasks.values()) == {Task.RUN_PODS}


# --- bad configs


def test_a_bad_config_fails_alone_and_its_former_pods_stay() -> None:
    before = make_entry(raw_entry("a", config=several("web", "db")))
    bad = make_entry(raw_entry("b", action="UPDATE", config={"kind": "Pod", "spec": {"containers": []}}), 2)
    good = make_entry(raw_entry("c", resource="other", config=pod_map("other")), 3)
    found = plan(bad, good, rows=rows_of(before))
    assert removed(found) == [] and written(found) == [("other", "c")]
    assert set(found.faults) == {"b"} and len(found.faults["b"]) >= 2, "every fault is told"
    assert found.tasks == {"b": Task.RUN_PODS, "c": Task.RUN_PODS}


# --- two pods of one name


def test_the_older_of_two_deployments_gets_a_name_that_both_want() -> None:
    young = make_entry(raw_entry("young", resource="y", created=T2), 1)
    old = make_entry(raw_entry("old", resource="o", created=T1), 2)
    found = plan(young, old)
    assert written(found) == [("web", "old")]
    assert found.faults == {
        "young": ("pod default/web: deployment shop/o has a pod of that name; give one of them another metadata.name",)
    }


def test_the_one_whose_pod_is_there_keeps_the_name() -> None:
    old = make_entry(raw_entry("old", resource="o", created=T1), 1)
    holder = make_entry(raw_entry("holder", resource="h", created=T2), 2, state=DONE)
    found = plan(old, holder, rows=rows_of(holder))
    assert (removed(found), written(found)) == ([], []) and set(found.faults) == {"old"}


def test_the_name_is_free_when_its_holder_goes() -> None:
    holder = make_entry(raw_entry("holder", resource="h"), 1)
    other = make_entry(raw_entry("other", resource="o"), 2, state=DONE)
    rows = rows_of(holder)
    going = plan(other, rows=rows)
    assert removed(going) == ["web"] and going.blocked == {WEB} and not going.faults
    assert plan(other, rows=[replace(rows[0], phase=REMOVING)]).blocked == {WEB}
    assert written(plan(other)) == [("web", "other")]


def test_a_holder_whose_new_config_is_bad_keeps_its_name() -> None:
    before = make_entry(raw_entry("a", resource="h"))
    bad = make_entry(raw_entry("b", resource="h", config="{"), 2)
    other = make_entry(raw_entry("c", resource="o"), 3)
    found = plan(bad, other, rows=rows_of(before))
    assert (removed(found), written(found)) == ([], [])
    assert found.faults["c"] == ("pod default/web: deployment shop/h still has a pod of that name",)


def test_a_name_that_is_given_up_by_an_update_that_is_refused_is_not_free() -> None:
    """The refused one keeps its pods; who counted on the name must be told, not wait for ever."""
    before = make_entry(raw_entry("a", resource="h"))
    db = make_entry(raw_entry("d", resource="d", config=pod_map("db")), 2, state=DONE)
    update = make_entry(raw_entry("b", resource="h", action="UPDATE", config=pod_map("db"), created=T3), 3)
    counts = make_entry(raw_entry("c", resource="o", created=T1), 4)
    found = plan(db, update, counts, rows=[*rows_of(before), *rows_of(db)])
    assert (removed(found), written(found)) == ([], []) and set(found.faults) == {"b", "c"}
    assert found.faults["c"] == ("pod default/web: deployment shop/h still has a pod of that name",)


def test_a_deployment_with_one_conflict_writes_none_of_its_pods() -> None:
    holder = make_entry(raw_entry("a", resource="h"), 1)
    other = make_entry(raw_entry("b", resource="o", config=several("web", "db")), 2)
    found = plan(holder, other, rows=rows_of(holder))
    assert written(found) == [] and set(found.faults) == {"b"}


def test_the_same_name_in_two_namespaces_is_no_conflict() -> None:
    config = pod_map()
    config["metadata"]["namespace"] = "kube-system"
    found = plan(make_entry(raw_entry("a")), make_entry(raw_entry("b", resource="o", config=config), 2))
    assert len(found.write) == 2 and not found.faults


def test_a_foreign_manifests_pod_keeps_its_name() -> None:
    foreign = Found("theirs.yaml", WEB, None, 30.0, "x")
    found = plan(make_entry(raw_entry("a")), files=[foreign])
    assert written(found) == []
    assert found.faults == {"a": ("pod default/web: the manifest theirs.yaml, which is not ours, has that name",)}
    assert written(plan(make_entry(raw_entry("a")), files=[])) == [("web", "a")], "after it has gone"


def test_a_copy_of_our_manifest_is_a_foreign_one() -> None:
    """A backup in the manifest directory is a second pod of the name, whatever its extension."""
    entry = make_entry(raw_entry("a"), state=DONE)
    (row,) = rows_of(entry)
    copy = replace(file_of(row), file="web.json.bak")
    newer = make_entry(raw_entry("b", action="UPDATE"), 2)
    found = plan(newer, rows=[row], files=[file_of(row), copy])
    assert (removed(found), written(found)) == ([], []), "our own goes on running"
    assert "web.json.bak, which is not ours" in found.faults["b"][0]


# --- manifests that somebody touched


def test_a_manifest_that_was_edited_or_deleted_is_put_right() -> None:
    entry = make_entry(raw_entry("a"), state=DONE)
    (row,) = rows_of(entry)
    edited = replace(file_of(row), file_hash="edited")
    for files in ([edited], []):
        found = plan(entry, rows=[row], files=files)
        assert removed(found) == ["web"] and found.blocked == {WEB}


def test_a_write_that_was_cut_short_is_done_again() -> None:
    entry = make_entry(raw_entry("a"))
    found = plan(entry, rows=rows_of(entry, phase=WRITING), files=[])
    assert removed(found) == ["web"] and found.blocked == {WEB}


# --- components and other groups


def component(entry_id: str, action: str, *configs: tuple[str, list[str], Any], created: str = T1) -> dict[str, Any]:
    parts = [{"tool": tool, "actions": actions, "config": config} for tool, actions, config in configs]
    return raw_entry(entry_id, action=action, group="component", config={"configs": parts}, created=created)


PODS = ("kubelet", ["CREATE", "UPDATE"], pod_map())
SCRIPT = ("script", ["DELETE"], "#!/bin/sh")


def test_a_components_delete_by_another_tool_runs_when_the_pods_are_gone() -> None:
    before = make_entry(component("a", "CREATE", PODS, SCRIPT))
    after = make_entry(component("b", "DELETE", PODS, SCRIPT), 2)
    rows = rows_of(before)
    assert written(plan(before)) == [("web", "a")]
    found = plan(after, rows=rows)
    assert removed(found) == ["web"] and found.tasks == {"b": Task.REMOVE_PODS}
    assert plan(after, rows=[replace(rows[0], phase=REMOVING)]).tasks == {"b": Task.REMOVE_PODS}
    assert plan(after).tasks == {"b": Task.RUN_HOOK}


@pytest.mark.parametrize("action", ["SUSPEND", "RESUME"])
def test_a_component_without_config_for_the_action_changes_nothing(action: str) -> None:
    before = make_entry(component("a", "CREATE", PODS))
    after = make_entry(component("b", action, PODS), 2)
    found = plan(after, rows=rows_of(before))
    assert (removed(found), written(found)) == ([], []) and found.tasks == {"b": Task.ANSWER_ONLY}


def test_a_components_update_by_another_tool_leaves_the_pods() -> None:
    before = make_entry(component("a", "CREATE", ("kubelet", ["CREATE"], pod_map()), ("script", ["UPDATE"], "x")))
    after = make_entry(component("b", "UPDATE", ("kubelet", ["CREATE"], pod_map()), ("script", ["UPDATE"], "x")), 2)
    found = plan(after, rows=rows_of(before))
    assert removed(found) == [] and found.tasks == {"b": Task.RUN_HOOK}


def test_a_deployment_that_leaves_our_group_loses_its_pods() -> None:
    before = make_entry(raw_entry("a"))
    after = make_entry(raw_entry("b", group="script", action="UPDATE", config="#!/bin/sh"), 2)
    assert removed(plan(after, rows=rows_of(before))) == ["web"]


def test_hooks_run_for_other_groups_and_only_for_the_newest_entry() -> None:
    old = make_entry(raw_entry("old", group="script", created=T1, config="x"), 1)
    new = make_entry(raw_entry("new", group="script", created=T2, config="x"), 2)
    gone = make_entry(raw_entry("gone", group="ansible", resource="x", action="DELETE", config="x"), 3)
    assert plan(old, new, gone).tasks == {"old": Task.SUPERSEDED, "new": Task.RUN_HOOK, "gone": Task.RUN_HOOK}


def test_a_replaced_ones_delete_runs_its_own_hook() -> None:
    new = make_entry(raw_entry("new", group="script", created=T2, config="x"), 1, state=DONE)
    old = make_entry(raw_entry("old", group="script", action="DELETE", created=T3, config="x"), 2)
    assert plan(new, old).tasks == {"old": Task.RUN_HOOK}


def test_in_hook_mode_other_groups_are_somebody_elses() -> None:
    script = make_entry(raw_entry("a", group="script", config="x"), 1)
    pods = make_entry(raw_entry("b", resource="o"), 2)
    assert plan(script, pods, kubelet_only=True).tasks == {"a": Task.SUPERSEDED, "b": Task.RUN_PODS}


@pytest.mark.parametrize("group", ["Heat::Ungrouped", "os-apply-config"])
def test_configs_that_are_merged_into_the_metadata_wait_for_os_apply_config(group: str) -> None:
    assert plan(make_entry(raw_entry("a", group=group, config={"x": 1}))).tasks == {"a": Task.APPLY_CONFIG}


def test_metadata_that_is_not_heats_has_an_identity_of_its_own() -> None:
    entry = make_entry({"name": "mine", "group": "kubelet", "config": pod_map()})
    assert entry.deployment.identity == Identity("", "mine") != identity()
    assert plan(entry).tasks == {entry.deployment.id: Task.RUN_PODS}
