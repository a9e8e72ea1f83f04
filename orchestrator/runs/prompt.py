"""What an agent is told, and the environment it is told it in: built, never inherited."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.runs.received import named
from orchestrator.store.messages import Words
from orchestrator.tasks import Task

_KEPT = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE")


def build_prompt(task: Task, words: Sequence[Words], attached: Sequence[str], sent: int) -> str:
    """The task, then what came of the last run, then what people have said since, and what they have
    sent: so many files, of which those *attached* are there."""
    parts = [task.text]
    if task.feedback:
        parts.append(f"About the last attempt, whose work is in this folder:\n{task.feedback}")
    if spoken := [w for w in words if w.text]:
        said = "\n".join(f"{w.author}: {w.text}" for w in spoken)
        parts.append(f"People have said since:\n{said}")
    return named("\n\n".join(parts), attached, sent=sent)


def plain_env(environ: Mapping[str, str]) -> dict[str, str]:
    """A few plain variables of ours, with a PATH that lacks our own virtual environment.

    So an agent finds its project's tools, and none of the daemon's secrets.
    """
    env = {name: environ[name] for name in _KEPT if name in environ}
    ours = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
    path = [p for p in environ.get("PATH", os.defpath).split(os.pathsep) if p]
    if sys.prefix != sys.base_prefix:
        path = [p for p in path if p not in ours]
    return {"LANG": "C.UTF-8"} | env | {"PATH": os.pathsep.join(path)}


def build_env(environ: Mapping[str, str], passed: Sequence[str], run_id: str, task_id: str) -> dict[str, str]:
    """The agent's environment: the plain variables, those that we are told to pass, and the run's mark."""
    env = plain_env(environ) | {name: environ[name] for name in passed if name in environ}
    env |= {"TERM": "dumb", "GIT_TERMINAL_PROMPT": "0"}
    return env | {"AGENT_QUEUE_RUN": run_id, "AGENT_QUEUE_TASK": task_id}
