"""What we are: tasks, scheduling, delivery and runs. Knows no chat platform and no agent brand."""
