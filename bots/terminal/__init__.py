"""The terminal frontend: a chat that the daemon serves over a Unix socket, and its programs."""
