"""The command line: reads the words, runs one of the commands, and turns what happens into an exit code.

Exit codes: 0 done, 2 bad input (one sentence), 130 interrupted with the state saved.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auglean import commands
from auglean.errors import InputError
from auglean.processes import joined, ranks, speaks
from auglean.training import Interrupted

if TYPE_CHECKING:
    from argparse import HelpFormatter

    from jsonargparse import ArgumentParser

COMMANDS: dict[str, Callable[..., None]] = {
    "compare": commands.compare,
    "condense": commands.condense,
    "fit": commands.fit,
    "select": commands.select,
    "quantify": commands.quantify,
    "curve": commands.curve,
}

#: Those whose work the processes of `torchrun` share.
SHARED = {"condense"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; by default those that the process was given.

    Returns:
        The exit code.
    """
    words = _canonical(list(sys.argv[1:] if argv is None else argv) or ["--help"])
    with joined():
        return _code(words)


def _code(words: list[str]) -> int:
    """Run the command; give the exit code."""
    try:
        name, values = _parse(words)
        if ranks() > 1 and name not in SHARED:
            raise InputError(
                f"auglean {name} was started in {ranks()} processes but runs in one; start it without torchrun, which "
                f"only {', '.join(sorted(SHARED))} can share."
            )
        COMMANDS[name](**values)
    except InputError as error:
        return _refuse(str(error))
    except OSError as error:
        place = error.filename or "the run folder"
        return _refuse(
            f"{place} cannot be read or written ({error.strerror or error}); mend that, or give another --out."
        )
    except (Interrupted, KeyboardInterrupt) as error:
        told = str(error) or "before the run began; nothing was written"
        _tell(f"Interrupted, {told}")
        return 130
    return 0


def _parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Give the command and its arguments."""
    from jsonargparse import ArgumentError

    parser = _parser()
    try:
        options = parser.parse_args(_with_stored_options(words))
        # the name that jsonargparse 5 keeps, where it is known already
        ready = getattr(parser, "instantiate", parser.instantiate_classes)(options)
    except (ArgumentError, TypeError) as error:
        raise InputError(_plain(str(error))) from error
    name = ready["subcommand"]
    values = ready[name].as_dict()
    values.pop("config", None)
    return name, values


def _parser() -> ArgumentParser:
    from jsonargparse import ArgumentParser as Base

    from auglean import __version__

    class ArgumentParser(Base):
        def format_help(self, formatter: HelpFormatter | None = None) -> str:
            """Write options with dashes, as they are commonly typed."""
            text = re.sub(r"--[a-z_.]+", lambda match: match[0].replace("_", "-"), super().format_help(formatter))
            text = re.sub(r"(--[a-z-]+) \{true,false\}", r"\1", text)
            return text.replace("[ITEM,...]", "A,B,…")

    parser = ArgumentParser(
        prog="auglean",
        description="Augment what matters: which images are worth augmenting, and whether it paid.",
        version=__version__,
        exit_on_error=False,
    )
    commands = parser.add_subcommands(required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = ArgumentParser(description=_description(function), exit_on_error=False)
        command.add_argument("--config", action="config", help="A config.yaml of an earlier run; options after it win.")
        command.add_function_arguments(function, as_group=False)
        commands.add_subcommand(name, command, help=_description(function).split("\n")[0])
    return parser


def _description(function: Callable[..., None]) -> str:
    return re.sub(r"\n\s+", "\n", (function.__doc__ or "").split("Args:")[0]).strip()


def _canonical(words: list[str]) -> list[str]:
    """Write words as the parser wants them: `--a_b`, `--list [1,2]`, `--flag=true`."""
    lists, flags = (_options(words[0], kind) for kind in ("list[", "bool"))
    result: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        name = "--" + name[2:].replace("-", "_") if name.startswith("--") else name
        last = result[-1] if result else ""
        if not name.startswith("--"):
            if last in (f"{flag}=true" for flag in flags) and word.lower() in ("true", "false"):
                result[-1] = last.removesuffix("true") + word.lower()
            else:
                result.append(f"[{word}]" if last in lists and not word.startswith("[") else word)
        elif equals:
            result.append(f"{name}=[{value}]" if name in lists and not value.startswith("[") else f"{name}={value}")
        else:
            result.append(f"{name}=true" if name in flags else name)
    return result


def _options(command: str, kind: str) -> list[str]:
    """List the options of a command that hold lists, written with commas, or that are on when they are named."""
    if command not in COMMANDS:
        return []
    parameters = inspect.signature(COMMANDS[command]).parameters.values()
    return [f"--{one.name}" for one in parameters if str(one.annotation).startswith(kind)]


def _with_stored_options(words: list[str]) -> list[str]:
    """Put the options of the run to resume before those that were given."""
    if "--resume=true" not in words or "--config" in words:
        return words
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--out"]
    given += [word.partition("=")[2] for word in words if word.startswith("--out=")]
    if not given:
        raise InputError("--resume was given without a folder; say which run to go on with by --out DIR.")
    from auglean.studies.folder import CONFIG, check_folder

    check_folder(given[0], resume=True)
    return [words[0], "--config", str(Path(given[0]) / CONFIG), *words[1:]]


def _plain(message: str) -> str:
    """Bring the parser's message to one sentence in the words of the user."""
    message = " ".join(message.split())
    message = re.sub(r"<class '(\w+)'>", r"\1", message).replace("NoneType", "null")
    message = re.sub(r"typing\.Literal\[(.*?)\]", lambda match: "one of " + match[1].replace("'", ""), message)
    option = re.search(r'(?:Parser key|Option) "([\w.]+)": (.*)', message)
    if option:
        name, reason = "--" + option[1].replace("_", "-"), option[2]
        one = re.match(r".*?Expected (?:an? )?(.*?)\. Got value: (.*)", reason)
        several = re.match(r".*Subtypes: \[(.*?)\].* Given value: (.*)", reason)
        if one or several:
            expected, given = (one or several).groups()  # type: ignore[union-attr]
            return f"{name} is {given}, expected {expected.replace(', ', ' or ') if several else expected}; see --help."
        return f"{name}: {reason.rstrip('.')}; see --help."
    return f"{message.rstrip('.')}; see --help."


def _refuse(sentence: str) -> int:
    _tell(f"auglean: {sentence}")
    return 2


def _tell(line: str) -> None:
    if speaks():
        print(line, file=sys.stderr)
