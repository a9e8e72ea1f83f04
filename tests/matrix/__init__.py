"""People on a Matrix homeserver, for tests: clients of their own that share no code with ours."""
