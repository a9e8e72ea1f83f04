"""Discord in tests."""
