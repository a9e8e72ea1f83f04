"""Servers that stand in for the outside world, on real loopback sockets."""
