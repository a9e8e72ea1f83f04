"""One run of an agent: lease, drive, record, release."""
