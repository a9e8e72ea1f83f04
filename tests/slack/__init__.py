"""Slack for tests: a stand-in server, and people beside the bot."""
