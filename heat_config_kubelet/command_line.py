"""The command line as data, read out of the parser: completion, the manual and the reference are made from it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from . import cli

DEPLOYMENTS, PODS, FILES, CHECKS = "deployments", "pods", "files", "checks"
"""What the value of an option or an argument may be, where it is not one of some words."""
_KINDS = {"DEPLOYMENT": (DEPLOYMENTS,), "POD": (PODS,), "FILE": (FILES,), "CHECK": (CHECKS,)}


@dataclass(frozen=True)
class Value:
    """What is given to an option, or as an argument."""

    shown: str
    """As the help has it: FILE, DEPLOYMENT, {bash,zsh}…"""
    words: tuple[str, ...] = ()
    """All that it may be; empty where it may be anything."""
    kinds: tuple[str, ...] = ()
    """What it names: DEPLOYMENTS, PODS, FILES, CHECKS."""
    needed: bool = True
    several: bool = False


@dataclass(frozen=True)
class Option:
    """An option; `value` is None for a switch."""

    names: tuple[str, ...]
    help: str
    value: Value | None


@dataclass(frozen=True)
class Argument:
    """A positional argument."""

    name: str
    help: str
    value: Value


@dataclass(frozen=True)
class Command:
    """A command, or with an empty name what comes before one."""

    name: str
    text: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]
    exits: tuple[str, ...]
    """What each exit status says: "0 done"."""


def commands() -> tuple[Command, ...]:
    """Give what comes before a command, then every command that the help shows, in its order."""
    top = cli.parser()
    return (_command("", top), *(_command(name, each) for name, each in cli.commands_of(top).items() if _shown(each)))


def _shown(parser: argparse.ArgumentParser) -> bool:
    return bool(parser.description)


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    actions = [each for each in parser._actions if each.help is not argparse.SUPPRESS]
    told = parser.epilog or ""
    examples = told.partition("examples:\n")[2].partition("\n\n")[0]
    exits = told.rpartition("exit status: ")[2]
    return Command(
        name,
        parser.description or "",
        tuple(Option(tuple(each.option_strings), _help(each), _value(each)) for each in actions if each.option_strings),
        tuple(
            Argument(each.dest, _help(each), value)
            for each in actions
            if not each.option_strings and not isinstance(each, argparse._SubParsersAction)
            for value in (_value(each),)
            if value is not None
        ),
        tuple(line.strip() for line in examples.splitlines() if line.strip()),
        tuple(each.strip() for each in exits.split("; ")),
    )


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "heat-config-kubelet"}


def _value(action: argparse.Action) -> Value | None:
    if action.nargs == 0:
        return None
    words = tuple(str(each) for each in action.choices or ())
    shown = str(action.metavar or ("{" + ",".join(words) + "}" if words else action.dest.upper()))
    kinds = tuple(kind for word in shown.split("|") for kind in _KINDS.get(word, ()))
    return Value(shown, words, kinds, action.nargs not in ("?", "*"), action.nargs in ("*", "+"))
