"""The delivery contract: inbox, outbox, relay."""
