"""Real coding agents against the scripted model: what each needs in its home, its command line and its environment.

    pytestmark = needs_agents                     # the marker `agents`; skipped where `make agents` was not run

    async with ModelServer() as server:
        brand = opencode_serve(tmp_path / "home", server.url)
        subprocess.Popen(brand.argv, env=brand.env, cwd=...)

Each function writes the configuration into the home folder, which it makes, and returns a Brand. `argv` is the program
with the arguments that make it serve a client; an adapter that adds those itself takes `program`. `env` is the whole
environment: give nothing else but what a run needs (`{**brand.env, "AGENT_QUEUE_RUN": ...}`). Everyone is asked before
commands and edits. Programs start children: use a process group, and end that. Nothing but loopback is spoken to.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

VARIABLE: Final = "AGENT_QUEUE_AGENTS"
"""Names the folder that `make agents` made, where it is another checkout's."""
MODEL: Final = "scripted"
_CODEX_MODEL: Final = "gpt-5.5"
"""One that Codex knows: it is offered the tool for patches, and each turn begins without a warning."""
_CONTEXT_TOKENS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Brand:
    """One agent, ready to be started."""

    name: str
    program: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def argv(self) -> list[str]:
        return [self.program, *self.arguments]


def installed() -> Path | None:
    """The folder that `make agents` made, or None."""
    named = os.environ.get(VARIABLE)
    root = Path(named) if named else Path(__file__).parents[2] / ".agents"
    return root if (root / ".ready").exists() else None


needs_agents: Final = [
    pytest.mark.agents,
    pytest.mark.skipif(
        installed() is None, reason="real agents are not installed; `make agents` installs them"
    ),
]


def claude(home: Path, url: str) -> Brand:
    """The Claude Code that the SDK brings; it needs no `make agents`.

    Limits of a subscription are told only to one: take ANTHROPIC_API_KEY away, and give CLAUDE_CODE_OAUTH_TOKEN.
    """
    return Brand("claude", _claude_program(), (), claude_env(home, url))


def claude_agent_acp(home: Path, url: str) -> Brand:
    """The bridge from ACP to Claude Code; it drives the one of the SDK."""
    env = {**claude_env(home, url), "CLAUDE_CODE_EXECUTABLE": _claude_program()}
    return _npm("claude-agent-acp", (), env)


def opencode_serve(home: Path, url: str) -> Brand:
    """OpenCode's server; its first line on standard output that holds `listening on` has the address.

    Its password is `secret`, its user `opencode`, by basic authorization.
    """
    env = {**_opencode_env(home, url), "OPENCODE_SERVER_PASSWORD": "secret"}
    return _npm("opencode", ("serve", "--hostname", "127.0.0.1", "--port", "0"), env)


def opencode_acp(home: Path, url: str) -> Brand:
    """OpenCode, over ACP."""
    return _npm("opencode", ("acp",), _opencode_env(home, url))


def codex_app_server(home: Path, url: str) -> Brand:
    """Codex's app-server: JSON lines on standard input and output.

    Everything is asked with `"approvalPolicy": "untrusted"` in `thread/start`: its configuration cannot say so any
    more. Else it asks where the model wants out of the sandbox (`{"sh": ..., "ask": True}`).
    """
    return _npm("codex", ("app-server",), _codex_env(home, url))


def codex_acp(home: Path, url: str) -> Brand:
    """The bridge from ACP to Codex; it drives the same Codex.

    Its own default mode lets the model review what should be asked; here a person is, before anything is written.
    """
    return _npm("codex-acp", (), {**_codex_env(home, url), "INITIAL_AGENT_MODE": "read-only"})


def gemini_acp(home: Path, url: str) -> Brand:
    """Gemini CLI, over ACP: `authenticate("gemini-api-key")` before `session/new`."""
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "privacy": {"usageStatisticsEnabled": False},
    }
    _write(home / ".gemini/settings.json", settings)
    env = {
        **_env(home),
        "GEMINI_API_KEY": "x",
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_CLI_NO_RELAUNCH": "true",
    }
    return _npm("gemini", ("--acp", "-m", "gemini-2.5-pro"), env)


BRANDS: Final[Mapping[str, Callable[[Path, str], Brand]]] = {
    "claude": claude,
    "claude-agent-acp": claude_agent_acp,
    "opencode-serve": opencode_serve,
    "opencode-acp": opencode_acp,
    "codex-app-server": codex_app_server,
    "codex-acp": codex_acp,
    "gemini-acp": gemini_acp,
}


def _claude_program() -> str:
    sdk = pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")
    return str(Path(sdk.__file__).parent / "_bundled/claude")


def claude_env(home: Path, url: str) -> dict[str, str]:
    """What Claude Code needs; calls of the model that it makes for itself are left on, to be seen."""
    return {
        **_env(home),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "x",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_BUG_COMMAND": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",
    }


def _opencode_env(home: Path, url: str) -> dict[str, str]:
    cost = {"input": 1, "output": 2, "cache_read": 0.1, "cache_write": 1}
    limit = {"context": _CONTEXT_TOKENS, "output": 8_000}
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": f"{MODEL}/{MODEL}",
        "small_model": f"{MODEL}/{MODEL}",
        "enabled_providers": [MODEL],
        "autoupdate": False,
        "share": "disabled",
        "permission": {"edit": "ask", "bash": "ask", "webfetch": "ask"},
        "provider": {
            MODEL: {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{url}/v1", "apiKey": "x"},
                "models": {MODEL: {"name": MODEL, "tool_call": True, "cost": cost, "limit": limit}},
            }
        },
    }
    _write(home / ".config/opencode/opencode.json", config)
    return {
        **_env(home),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "npm_config_offline": "true",  # else it installs a package into its home, in the background
    }


def _codex_env(home: Path, url: str) -> dict[str, str]:
    lines = [
        f'model = "{_CODEX_MODEL}"',
        f'model_provider = "{MODEL}"',
        'approval_policy = "on-request"',
        'sandbox_mode = "workspace-write"',
        "check_for_update_on_startup = false",
        "[analytics]",
        "enabled = false",
        f"[model_providers.{MODEL}]",
        f'name = "{MODEL}"',
        f'base_url = "{url}/v1"',
        'env_key = "SCRIPTED_KEY"',
        'wire_api = "responses"',
        "request_max_retries = 1",
        "stream_max_retries = 1",
        "supports_websockets = false",
    ]
    path = home / ".codex/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    scratch = (
        home / "scratch"
    )  # Codex puts its sandbox's helpers into its home only outside of the temporary folder
    scratch.mkdir(exist_ok=True)
    return {
        **_env(home),
        "CODEX_HOME": str(path.parent),
        "SCRIPTED_KEY": "x",
        "TMPDIR": str(scratch),
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody is there: else it looks for plugins elsewhere
        "NO_PROXY": "127.0.0.1",
    }


def _env(home: Path) -> dict[str, str]:
    """What every program gets; the locale is one that is everywhere."""
    home.mkdir(parents=True, exist_ok=True)
    root = installed()
    path = os.defpath if root is None else f"{root / 'node/bin'}:{os.defpath}"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}


def _npm(name: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> Brand:
    root = installed()
    assert root is not None, "make agents was not run"
    return Brand(name, str(root / "npm/node_modules/.bin" / name), arguments, env)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))
