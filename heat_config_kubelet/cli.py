"""The command line: one parser, one function a command; errors in one line, exit statuses documented.

Commands import what they need when they are called, so that none pays for the others.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import __version__, settings
from .errors import UNWRITABLE, AgentError, StoreError

_NAME = "heat-config-kubelet"
EXIT_STATUS = "0 done; 1 failed, the reason is on standard error; 2 bad arguments or settings"
"""Of a command that says no other."""
_DEPLOYMENT = "stack/resource, any part of it that is the only one's, or an id (default: all)"
_ONE_DEPLOYMENT = "stack/resource, any part of it that is the only one's, or an id"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status. Without `arguments` those of this process, which then ends."""
    if arguments is not None:
        return _command(parser().parse_args(arguments))
    gc.disable()  # what a start makes stays: to look through it for garbage again and again is a fifth of its work
    try:
        return _command(parser().parse_args())
    finally:
        gc.freeze()  # nor at the end


def _command(given: argparse.Namespace) -> int:
    try:
        return int(given.function(given))
    except AgentError as error:
        return _failed(error, given.debug)
    except sqlite3.Error as error:
        return _failed(StoreError(f"the store: {error}", hint=UNWRITABLE), given.debug)
    except PermissionError as error:
        return _failed(AgentError(f"{error.filename}: {error.strerror}", hint="this needs root"), given.debug)
    except OSError as error:
        return _failed(AgentError(f"{error.filename or 'system'}: {error.strerror or error}"), given.debug)
    except KeyboardInterrupt:
        return 130


def _live_on() -> None:
    """Collect garbage again, for a command that waits; what there is until now stays."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _failed(error: AgentError, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"heat-config-kubelet: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.status


def parser() -> argparse.ArgumentParser:
    """Give the whole command line's parser."""
    top = argparse.ArgumentParser(
        prog=_NAME,
        description="In-guest Heat agent for Kubernetes pods: group: kubelet deployments become static pods.",
        epilog=_told_last((f"{_NAME} status", f"{_NAME} COMMAND --help"), EXIT_STATUS),
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=f"{_NAME} {__version__}")
    top.add_argument("--settings", type=Path, metavar="FILE", help=f"settings file (default {settings.SETTINGS_FILE})")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error; before or after the command")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        name: str, function: object, text: str, *examples: str, exits: str = EXIT_STATUS
    ) -> argparse.ArgumentParser:
        """Add a command. `examples` are what may follow the program's name; none: the command alone is the example."""
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_told_last([f"{_NAME} {each}" for each in examples or (name,)], exits),
            formatter_class=_Help,
        )
        command.add_argument("--settings", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.set_defaults(function=function)
        return command

    add("run", _run, "one pass: what os-collect-config's command calls when metadata has changed")
    add(
        "hook",
        _hook,
        "heat-agents' hook for group kubelet: a deployment on standard input, its result on output",
        "hook < deployment.json",
    )
    add("record", _record, "record the whole wanted state before heat-agents' 55-heat-config runs")
    add("resume", _resume, "take up what a reboot or a crash cut short; for images without systemd")
    loop = add("loop", _loop, "drive what is pending until nothing is; started by run, resume or its systemd unit")
    loop.add_argument("--lock", type=int, help=argparse.SUPPRESS)  # from `Wake.start_loop` alone
    kubelet = add(
        "kubelet-config",
        _kubelet_config,
        "write a standalone kubelet's configuration and certificates",
        "kubelet-config",
        "kubelet-config --output /etc/kubernetes/kubelet.yaml",
    )
    kubelet.add_argument("--output", type=Path, metavar="FILE", help="where to write it")
    add("check-cache", _check_cache, "drop what a power loss left damaged in os-collect-config's cache")
    user_data = add(
        "user-data",
        _user_data,
        "first boot without cloud-init: take host name, ssh keys and user data",
        "user-data --user debian --limit 60",
    )
    user_data.add_argument("--user", default="root", help="whose ssh keys they are (default root)")
    user_data.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS", help="how long to wait for the metadata service"
    )
    add(
        "first-settings",
        _first_settings,
        "first boot with cloud-init: os-collect-config's settings of what Heat gave, so that its first poll asks Heat",
    )
    add(
        "elements-path",
        _elements_path,
        "print the folder of the elements for diskimage-builder's ELEMENTS_PATH",
    )
    status = add(
        "status",
        _status,
        "every deployment: its action and state, its pods, its signal, and what is to be said of them",
        "status",
        "status shop/web -o json",
        "status --wait --timeout 600",
        exits="0 all is well; 1 something failed, or the store cannot be read; 2 pending, or degraded: pods of a "
        "deployment that has succeeded are not ready now, a signal was refused or may have gone to another, or the "
        "kubelet, os-collect-config or the loop does not do its work; also bad arguments or settings",
    )
    status.add_argument("deployment", nargs="*", metavar="DEPLOYMENT", help=_DEPLOYMENT)
    status.add_argument("--wait", action="store_true", help="first wait until nothing is pending")
    status.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end --wait and --watch after so long (default: never)"
    )
    status.add_argument("--watch", action="store_true", help="show it again whenever something changes")
    status.add_argument("--json", action="store_true", help="the same as -o json")
    _add_output(status)
    pods = add(
        "pods",
        _pods,
        "the node's pods, ours and others': how each is, whose it is, and from which file",
        "pods",
        "pods -o wide",
        exits="0 done; 1 the kubelet, its runtime or its directory cannot be asked; 2 bad arguments or settings",
    )
    _add_output(pods)
    config = add(
        "config",
        _config,
        "the settings in force and where each comes from, and what was found out about the node",
        "config",
        "config -o wide",
    )
    _add_output(config)
    _add_looks(add)
    doctor = add(
        "doctor",
        _doctor,
        "every cause of trouble that is known, checked: what is found, why it matters, and what mends it",
        "doctor",
        "doctor endpoints polling",
        "doctor --offline -o json",
        exits="0 nothing found; 1 something is broken; 2 only warnings; also bad arguments",
    )
    doctor.add_argument("checks", nargs="*", metavar="CHECK", help="make these checks only (see --list)")
    doctor.add_argument("--list", action="store_true", help="show what is checked, and check nothing")
    doctor.add_argument("--offline", action="store_true", help="ask nobody outside of this node")
    _add_output(doctor)
    validate = add(
        "validate",
        _validate,
        "what the node would say of a pod, a HOT template or metadata, before it is deployed; on any machine",
        "validate web.yaml",
        "validate -e my-cloud.yaml one-pod.yaml",
        "validate --strict -o json - < pod.yaml",
        exits="0 good, warnings allowed; 1 a fault, with --strict also a warning; 2 bad arguments, settings or files",
    )
    validate.add_argument("files", nargs="+", metavar="FILE", help='YAML or JSON; "-" is standard input')
    validate.add_argument(
        *("-e", "--environment"),
        action="append",
        default=[],
        metavar="FILE",
        help="a Heat environment whose parameters the templates get; may be given several times",
    )
    validate.add_argument("--strict", action="store_true", help="warnings are faults")
    _add_output(validate)
    diff = add(
        "diff",
        _diff,
        "what is wanted beside what was written and what runs",
        "diff",
        "diff shop/web",
        "diff web -o json",
        exits="0 no difference; 1 differences, or not all can be seen; 2 bad arguments or settings",
    )
    diff.add_argument("deployments", nargs="*", metavar="DEPLOYMENT", help=_DEPLOYMENT)
    _add_output(diff)
    health = add(
        "health",
        _health,
        "whether os-collect-config polls, the store can be read, and the loop goes on",
        "health --patience 600",
        exits="0 it works; 1 it does not, and why is on standard error; 2 bad arguments or settings",
    )
    health.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long nothing may happen beside the pauses of os-collect-config (default 300)",
    )
    _add_changes(add)
    collect = add(
        "collect",
        _collect,
        "pack what helps to find a fault, without secrets: what all commands show, logs, settings, versions, the store",
        "collect",
        "collect -o /tmp/node-7.tar.gz",
        exits="0 packed, parts that could not be read as their error; 1 the file cannot be written; 2 bad arguments",
    )
    collect.add_argument(
        "-o",
        "--output",
        dest="file",
        type=Path,
        metavar="FILE",
        help="where to write it (default heat-config-kubelet-NODE-TIME.tar.gz in this folder)",
    )
    completion = add(
        "completion",
        _completion,
        "print the script by which a shell completes commands, options, deployments and pods",
        "completion bash > /usr/share/bash-completion/completions/heat-config-kubelet",
        "completion zsh > /usr/share/zsh/vendor-completions/_heat-config-kubelet",
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="for which shell")
    told_last = _told_last([f"{_NAME} complete deployments sh"], EXIT_STATUS)
    complete = commands.add_parser("complete", epilog=told_last, formatter_class=_Help)  # hidden: it has no help
    complete.add_argument("kind", choices=("deployments", "pods", "checks"))
    complete.add_argument("prefix", nargs="?", default="")
    complete.set_defaults(function=_complete)
    return top


def _add_looks(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that look at one deployment closely."""
    show = add(
        "show",
        _show,
        "one deployment whole: metadata, pods wanted beside pods running, containers, result, signal and timeline; "
        "also one that has vanished, by its id; secrets are blanked",
        "show web",
        "show shop/web -o yaml",
    )
    show.add_argument("deployment", metavar="DEPLOYMENT", help=_ONE_DEPLOYMENT)
    _add_output(show)
    timeline = add(
        "timeline",
        _timeline,
        "what happened to a deployment and when, and how long each step took; without a name what happened last",
        "timeline web",
        "timeline --last 100",
        "timeline shop/web -o json",
    )
    timeline.add_argument("deployment", nargs="?", metavar="DEPLOYMENT", help=_ONE_DEPLOYMENT)
    timeline.add_argument(
        *("-n", "--last"), type=_count, default=30, metavar="N", help="without a name: so many events (default 30)"
    )
    _add_output(timeline)
    logs = add(
        "logs",
        _logs,
        "what the containers of a deployment or a pod have written, also those that crashed; it is shown as it is, "
        "with any secrets that they write; by the kubelet or, where that does not answer, from the runtime's files",
        "logs web",
        "logs shop/web -c nginx --tail 100 -f",
        "logs default/web --previous",
        exits="0 done; 1 a log could not be had, or no container has run yet; 2 bad arguments or settings; 130 Ctrl-C",
    )
    logs.add_argument("name", metavar="DEPLOYMENT|POD", help="a deployment, or a pod by namespace/name; parts will do")
    logs.add_argument("-c", "--container", metavar="CONTAINER", help="of this container only (default: of all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the containers end, or Ctrl-C")
    logs.add_argument("-p", "--previous", action="store_true", help="of the run before the last: of one that crashed")
    logs.add_argument("--tail", type=_count, metavar="N", help="the last N lines of each (default: all)")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines, 0 or more")
    return int(text)


_CHANGED = (
    "0 it is left for the agent's loop, or with --wait came out well; 1 refused, not agreed to, or did not come out "
    "well in time; 2 there is no terminal to ask on and no --yes; also bad arguments or settings"
)


def _add_changes(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands that change something: they say what they will do and ask."""
    one = "stack/resource, any part of it that is the only one's, or an id"
    resend = add(
        "resend",
        _resend,
        "send a deployment's result to Heat again, also one that was refused, doubtful, or dropped as too old",
        "resend web",
        "resend shop/web --yes --wait --timeout 60",
        exits=_CHANGED,
    )
    redeploy = add(
        "redeploy",
        _redeploy,
        "run a deployment again: its pods are replaced by new ones and judged anew; Heat is told where it still waits",
        "redeploy web --wait",
        "redeploy shop/web --signal --yes",
        exits=_CHANGED,
    )
    forget = add(
        "forget",
        _forget,
        "drop what the store holds of a deployment that has vanished from the metadata",
        "forget shop/web",
        "forget 1c1f4c5e-0c1b-4f43-8f0e-5b0a3c0f7a11 --yes",
        exits="0 forgotten; 1 refused, or not agreed to; 2 there is no terminal to ask on and no --yes; also bad "
        "arguments or settings",
    )
    restart = add(
        "restart",
        _restart,
        "end one pod and create it anew, with a new UID; its deployment is not decided anew",
        "restart web",
        "restart default/web --yes --wait",
        exits=_CHANGED,
    )
    redeploy.add_argument("--signal", action="store_true", help="tell Heat the new result although it has one")
    for command in (resend, redeploy, forget):
        command.add_argument("deployment", metavar="DEPLOYMENT", help=one)
    restart.add_argument("pod", metavar="POD", help="namespace/name, any part of it that is the only one's, or its UID")
    for command in (resend, redeploy, restart):
        command.add_argument("--wait", action="store_true", help="wait for what comes of it")
        command.add_argument(
            "--timeout", type=float, metavar="SECONDS", help="end --wait after so long (default: never)"
        )
    forget.set_defaults(wait=False, timeout=None)
    for command in (resend, redeploy, forget, restart):
        command.add_argument("--yes", action="store_true", help="do it without asking")
        _add_output(command)


def _add_output(command: argparse.ArgumentParser) -> None:
    """Add -o to a command that shows something."""
    forms = ("table", "wide", "json", "yaml")  # as `commands.console.FORMATS`, without its import
    command.add_argument("-o", "--output", choices=forms, default="table", help="how to show it (default table)")


class _Help(argparse.HelpFormatter):
    """Help whose examples stand on lines of their own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            indent + line if line.startswith(" ") or not line else super(_Help, self)._fill_text(line, width, indent)
            for line in text.splitlines()
        )


def _told_last(examples: Sequence[str], exits: str) -> str:
    """What a command's help ends with; its parts are what the manual and the reference are made from."""
    return "\n".join(["examples:", *(f"  {each}" for each in examples), "", f"exit status: {exits}"])


def commands_of(top: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Give every command's parser by its name, in the order of the help; hidden ones too."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _settings(given: argparse.Namespace) -> settings.Settings:
    return settings.load(given.settings)


def _run(given: argparse.Namespace) -> int:
    from .run import run

    return run(_settings(given))


def _record(given: argparse.Namespace) -> int:
    from .hook_mode import record_all

    _live_on()
    return record_all(_settings(given))


def _hook(given: argparse.Namespace) -> int:
    from .hook_mode import failed_answer, hook

    _live_on()
    data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    text = data.decode("utf-8", "replace")
    try:
        answer = hook(_settings(given), text)
    except (AgentError, sqlite3.Error, OSError) as error:
        reason = error if isinstance(error, AgentError) else StoreError(f"the store: {error}")
        answer = failed_answer(text, reason)
        print(f"heat-config-kubelet: {reason}", file=sys.stderr)
    json.dump(answer, sys.stdout)
    return 0


def _resume(given: argparse.Namespace) -> int:
    from .wake import Wake

    found = _settings(given)
    wake = Wake(found.state_dir)
    if found.store_file.exists():
        wake.raise_flag()
        wake.start_loop(found)
    return 0


def _loop(given: argparse.Namespace) -> int:
    from .loop_process import run_loop

    _live_on()
    os.umask(0o077)
    return run_loop(_settings(given), given.lock)


def _kubelet_config(given: argparse.Namespace) -> int:
    from .kubelet_config import write_kubelet_config

    written = write_kubelet_config(_settings(given), output=given.output)
    print(f"{written.file}: {'written' if written.changed else 'unchanged'}")
    print(f"manifests {written.manifest_dir}, runtime {written.runtime_endpoint}, driver {written.cgroup_driver}")
    if written.certificates_renewed:
        print("certificates made anew")
    return 0


def _check_cache(given: argparse.Namespace) -> int:
    from .collector_cache import drop_damaged

    for path in drop_damaged(_settings(given).os_collect_config_cache):
        print(f"{path}: damaged, removed; its source will count as changed")
    return 0


def _user_data(given: argparse.Namespace) -> int:
    from .apply_config import render_first
    from .clock import Clock
    from .log import Log
    from .user_data import FirstBoot

    found = _settings(given)
    FirstBoot(
        found.state_dir,
        Log(found.log_level),
        Clock(),
        user=given.user,
        first_settings=lambda: render_first(found, os.environ),
    ).run(given.limit)
    return 0


def _first_settings(given: argparse.Namespace) -> int:
    from .apply_config import render_first

    problem = render_first(_settings(given), os.environ)
    if problem:
        raise AgentError(f"os-apply-config: {problem}", hint="os-collect-config's first pass tries it again")
    return 0


def _elements_path(given: argparse.Namespace) -> int:
    del given
    from .elements import elements_path

    print(elements_path())
    return 0


def _status(given: argparse.Namespace) -> int:
    from .commands.status import main

    return main(given)


def _pods(given: argparse.Namespace) -> int:
    from .commands.pods import main

    return main(given)


def _config(given: argparse.Namespace) -> int:
    from .commands.config import main

    return main(given)


def _show(given: argparse.Namespace) -> int:
    from .commands.show import main as show

    return show(given)


def _timeline(given: argparse.Namespace) -> int:
    from .commands.timeline import main as timeline

    return timeline(given)


def _logs(given: argparse.Namespace) -> int:
    from .commands.logs import main as logs

    _live_on()
    return logs(given)


def _doctor(given: argparse.Namespace) -> int:
    from .commands.doctor import main as doctor

    return doctor(given)


def _resend(given: argparse.Namespace) -> int:
    from .commands.resend import main as resend

    return resend(given)


def _redeploy(given: argparse.Namespace) -> int:
    from .commands.redeploy import main as redeploy

    return redeploy(given)


def _forget(given: argparse.Namespace) -> int:
    from .commands.forget import main as forget

    return forget(given)


def _restart(given: argparse.Namespace) -> int:
    from .commands.restart import main as restart

    return restart(given)


def _validate(given: argparse.Namespace) -> int:
    from .commands.validate import main as validate

    return validate(given)


def _collect(given: argparse.Namespace) -> int:
    from .commands.collect import main as collect

    return collect(given)


def _completion(given: argparse.Namespace) -> int:
    from .commands.completion import main as completion

    return completion(given)


def _complete(given: argparse.Namespace) -> int:
    from .commands.completion import complete

    return complete(given)


def _diff(given: argparse.Namespace) -> int:
    from .commands.diff import main as diff

    return diff(given)


def _health(given: argparse.Namespace) -> int:
    import time

    from .health import faults

    found = faults(_settings(given), os.environ, time.time(), given.patience)
    for fault in found:
        print(f"heat-config-kubelet: {fault}", file=sys.stderr)
    return 1 if found else 0
