"""OpenCode, over the API of its server."""
