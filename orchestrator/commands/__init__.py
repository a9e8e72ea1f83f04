"""The one command grammar and its handlers, by noun."""
