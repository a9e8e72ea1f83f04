"""The Claude Code adapter, over the real CLI and a scripted model."""
