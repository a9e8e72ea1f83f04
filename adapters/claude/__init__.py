"""Claude Code, driven through Anthropic's Agent SDK; needs the `claude` extra."""
