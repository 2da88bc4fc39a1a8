"""`completion bash|zsh`: the shell's script, made from the parser; and `complete`, which it asks for names.

The script knows commands, options and their words by itself. Deployments and pods it asks for each time: from the
summary under /run, which everybody may read and which is there at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from .. import command_line
from .. import settings as settings_module
from ..command_line import CHECKS, FILES, PODS, Command, Option, Value
from ..errors import AgentError
from .console import Console

_BASH_HEAD = """\
# Completion of heat-config-kubelet for bash, as `heat-config-kubelet completion bash` prints it.

_heat_config_kubelet() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' words='' files='' at kind name
    local names=() settings=()
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
        --settings) settings=(--settings "${COMP_WORDS[++at]}") ;;
        -*) ;;
        *) if [ -z "$command" ]; then command=${COMP_WORDS[at]}; fi ;;
        esac
    done
    case "$command $before" in
    *" --settings") files=1 ;;
"""
_BASH_MIDDLE = """\
    *)
        case "$command $current" in
"""
_BASH_TAIL = """\
        esac
        ;;
    esac
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
    if [ -n "$files" ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
    for kind in "${names[@]}"; do
        while IFS= read -r name; do
            COMPREPLY+=("$(printf '%q' "$name")")
        done < <(heat-config-kubelet "${settings[@]}" complete "$kind" "$current" 2>/dev/null)
    done
}

complete -F _heat_config_kubelet heat-config-kubelet
"""
_ZSH_HEAD = """\
#compdef heat-config-kubelet
# Completion of heat-config-kubelet for zsh, as `heat-config-kubelet completion zsh` prints it.

_heat_config_kubelet_names() {
    local -a found
    local kind
    for kind; do
        found+=(${(f)"$(heat-config-kubelet complete $kind "$PREFIX" 2>/dev/null)"})
    done
    compadd -a found
}

_heat_config_kubelet() {
    local curcontext="$curcontext" state line
    local -a commands
    typeset -A opt_args
    commands=(
"""


def main(given: argparse.Namespace) -> int:
    """Print a shell's script."""
    commands = command_line.commands()
    Console.standard().write(bash(commands) if given.shell == "bash" else zsh(commands))
    return 0


def complete(given: argparse.Namespace) -> int:
    """Print the names of a kind that begin so, a line each; nothing where there are none to be known."""
    try:
        found = _names(given)
    except (AgentError, OSError):
        return 0
    if found:
        Console.standard().write("\n".join(found))
    return 0


def _names(given: argparse.Namespace) -> list[str]:
    if given.kind == CHECKS:
        from ..doctor.table import CHECKS as ALL_CHECKS

        return [check.name for check in ALL_CHECKS if check.name.startswith(given.prefix)]
    from ..summary import read

    summary = read(settings_module.load(given.settings).summary_file)
    if given.kind == PODS:
        return beginning(given.prefix, [(*pod.partition("/")[::2],) for pod in summary.pods])
    return beginning(given.prefix, [(row.stack, row.resource) for row in summary.deployments])


def beginning(prefix: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Give the whole names that begin so; where none does, their second parts that do and are the only ones.

    Names that a line cannot hold are left out.
    """
    whole = sorted(name for name in {"/".join(filter(None, pair)) for pair in pairs} if name.isprintable())
    found = [name for name in whole if name.startswith(prefix)]
    if found:
        return found
    seconds = [name.rpartition("/")[2] for name in whole]
    return sorted(name for name in seconds if name.startswith(prefix) and seconds.count(name) == 1)


# --- bash


def bash(commands: Sequence[Command]) -> str:
    """Make the script for bash.

    Names go past `compgen -W`, which would expand them: those of deployments are given by whoever writes templates.
    """
    top, *rest = commands
    values: dict[str, list[str]] = {}
    cases: dict[str, list[str]] = {}
    for command in rest:
        for option in command.options:
            if option.value is not None:
                names = [f'"{command.name} {name}"' for name in option.names]
                values.setdefault(_bash_value([option.value]), []).extend(names)
        flags = f'words="{" ".join([*_flags(command.options), *_EVERYWHERE])}"'
        cases.setdefault(flags, []).append(f'"{command.name} -"*')
        cases.setdefault(_bash_value([each.value for each in command.arguments]), []).append(f'"{command.name} "*')
    options = [f"    {_patterns(names, 8)}) {value} ;;" for value, names in values.items()]
    first = f'        " "*) words="{" ".join([*_flags(top.options), *(each.name for each in rest)])}" ;;'
    # What begins with "-" comes before what may be anything.
    ordered = sorted(cases.items(), key=lambda each: not each[0].startswith('words="-'))
    arguments = [first, *(f"        {_patterns(names, 12)}) {value} ;;" for value, names in ordered)]
    return _BASH_HEAD + "\n".join(options) + "\n" + _BASH_MIDDLE + "\n".join(arguments) + "\n" + _BASH_TAIL


def _patterns(names: Sequence[str], indent: int) -> str:
    return (" | \\\n" + " " * indent).join(names)


_EVERYWHERE = ("--settings", "--debug")
"""What may follow every command and is not in its own help."""


def _flags(options: Iterable[Option]) -> list[str]:
    return [name for option in options for name in option.names]


def _bash_value(values: Sequence[Value]) -> str:
    words = [word for value in values for word in value.words]
    kinds = list(dict.fromkeys(kind for value in values for kind in value.kinds))
    told = []
    if words:
        told.append(f'words="{" ".join(words)}"')
    names = [kind for kind in kinds if kind != FILES]
    if names:
        told.append(f"names=({' '.join(names)})")
    if FILES in kinds:
        told.append("files=1")
    return " ".join(told) or ":"


# --- zsh


def zsh(commands: Sequence[Command]) -> str:
    """Make the script for zsh, for a file named _heat-config-kubelet in a folder of `fpath`."""
    top, *rest = commands
    lines = [f"        {_quoted(f'{each.name}:{each.text}')}" for each in rest]
    lines += ["    )", "    _arguments -C \\"]
    lines += [f"        {spec} \\" for option in top.options for spec in _zsh_option(option)]
    lines += ["        '1:command:->command' '*::argument:->argument'", '    case "$state" in', "    command)"]
    lines += ["        _describe command commands", "        ;;", "    argument)", '        case "${line[1]}" in']
    for command in rest:
        lines.append(f"        {command.name})")
        specs = [spec for option in command.options for spec in _zsh_option(option)]
        specs += ["'--settings[settings file]:file:_files'", "'--debug[show the traceback of an error]'"]
        for argument in command.arguments:
            place = "*" if argument.value.several else "1" if argument.value.needed else "1:"
            specs.append(_quoted(f"{place}:{argument.value.shown.lower()}:{_zsh_action(argument.value)}"))
        lines += ["            _arguments \\", *(f"                {spec} \\" for spec in specs[:-1])]
        lines += [f"                {specs[-1]}", "            ;;"]
    lines += ["        esac", "        ;;", "    esac", "}", "", '_heat_config_kubelet "$@"', ""]
    return _ZSH_HEAD + "\n".join(lines)


def _zsh_option(option: Option) -> list[str]:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = f":{option.value.shown.lower()}:{_zsh_action(option.value)}" if option.value else ""
    return [_quoted(f"{name}[{text}]{value}") for name in option.names]


def _zsh_action(value: Value) -> str:
    if value.words:
        return f"({' '.join(value.words)})"
    if FILES in value.kinds:
        return "_files"
    return f"_heat_config_kubelet_names {' '.join(value.kinds)}" if value.kinds else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
