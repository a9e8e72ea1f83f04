"""Who talks to us: the gateway and one folder per chat frontend."""
