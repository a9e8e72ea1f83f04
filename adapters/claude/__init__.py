"""Claude Code, driven through Anthropic's Agent SDK; needs the `claude` extra."""

from adapters.claude.adapter import ClaudeAdapter, check, make

__all__ = ["ClaudeAdapter", "check", "make"]
