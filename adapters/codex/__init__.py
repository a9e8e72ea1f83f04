"""OpenAI's Codex, driven through `codex app-server`; needs the `codex` program."""
