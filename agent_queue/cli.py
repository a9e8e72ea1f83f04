"""The command line: the daemon, the chat, one command, the demo."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import agent_queue
from orchestrator.errors import UserError

_PROGRAMS = ("chat", "do", "demo", "doctor", "setup")
FAULT = 2
"""Exit code for what the person got wrong: configuration, arguments."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-queue",
        description="A daemon that turns chat into finished, reviewed code.",
        epilog="Programs: agent-queue chat [--plain], agent-queue do LINE [--json], agent-queue doctor, "
        "agent-queue setup FRONTEND, agent-queue demo [--matrix]. Each has its own --help.",
    )
    parser.add_argument(
        "config", nargs="?", type=Path, help="the configuration (default ~/.agent-queue/config.yaml)"
    )
    parser.add_argument("--version", action="version", version=f"agent-queue {agent_queue.__version__}")
    return parser


def _program_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"agent-queue {program}")
    if program == "demo":
        _demo_arguments(parser)
        return parser
    parser.add_argument("--config", type=Path, default=None, help="the daemon's configuration")
    if program == "setup":
        parser.add_argument(
            "frontend", choices=["discord", "matrix", "slack"], help="the platform to be set up"
        )
    if program in ("doctor", "setup"):
        return parser
    parser.add_argument(
        "--socket", type=Path, default=None, help="the daemon's socket, instead of a configuration"
    )
    if program == "chat":
        parser.add_argument("--plain", action="store_true", help="lines in, lines out: for pipes and scripts")
    else:
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")
        parser.add_argument(
            "--file", type=Path, action="append", default=[], metavar="PATH", help="a file to go with it"
        )
        parser.add_argument("line", nargs="+", help="the command, as it would be said in chat")
    return parser


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the demo lives (.demo; with --matrix .demo-matrix)"
    )
    parser.add_argument("--plain", action="store_true", help="play it in plain lines, to the merged branch")
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="on a Matrix homeserver of its own, to be joined with any client",
    )
    parser.add_argument("--encrypted", action="store_true", help="with --matrix: in an encrypted room")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments say; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in _PROGRAMS:
            return _program(words[0], words[1:])
        args = _parser().parse_args(words)
        if args.config is not None and args.config.name == str(args.config) and not args.config.suffix:
            _meant_as_file(args.config)
        from agent_queue import daemon

        return daemon.run(args.config)
    except UserError as fault:
        print(fault, file=sys.stderr)  # noqa: T201 - the one place that speaks to a shell
        return FAULT


def _meant_as_file(config: Path) -> None:
    """UserError where a bare word is neither a file nor a program: a program's name was probably mistyped."""
    if not config.exists():
        raise UserError(
            f"there is no program and no configuration file {str(config)!r}; "
            f"the programs are {', '.join(_PROGRAMS)}, and `agent-queue --help` tells more"
        )


def _program(program: str, words: Sequence[str]) -> int:
    args = _program_parser(program).parse_args(words)
    if program == "demo":
        return _demo(args)
    if program == "doctor":
        from agent_queue import doctor

        return doctor.run(args.config)
    if program == "setup":
        from agent_queue import setup

        return setup.run(args.frontend, args.config)
    from agent_queue import programs

    socket = args.socket or programs.socket_of(args.config)
    if program == "chat":
        return programs.chat(socket, plain=args.plain or not (sys.stdin.isatty() and sys.stdout.isatty()))
    line = args.line[0] if len(args.line) == 1 else " ".join(_quoted(word) for word in args.line)
    return programs.do(socket, line, as_json=args.json, files=args.file)


def _demo(args: argparse.Namespace) -> int:
    plain = args.plain or not (sys.stdin.isatty() and sys.stdout.isatty())
    if args.matrix:
        from agent_queue import demo_matrix

        return demo_matrix.run(args.folder or Path(".demo-matrix"), plain=plain, encrypted=args.encrypted)
    if args.encrypted:
        raise UserError("--encrypted goes with --matrix: the terminal's demo is a socket of this machine")
    from agent_queue import demo

    return demo.run(args.folder or Path(".demo"), plain=plain)


def _quoted(word: str) -> str:
    """A shell word as the grammar reads it: one with spaces stays one."""
    if " " not in word or "\n" in word:
        return word
    name, colon, value = word.partition(":")
    escaped = (value if colon else word).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}:"{escaped}"' if colon and " " not in name else f'"{escaped}"'
