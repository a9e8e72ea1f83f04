"""Whom we drive: one module per coding agent."""
