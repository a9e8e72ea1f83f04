"""Slack: one app in one workspace, in channels, threads, direct messages, modals and its App Home."""
