"""How real agents are driven by tests, offline."""
