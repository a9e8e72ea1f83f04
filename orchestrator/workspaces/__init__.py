"""Git: worktrees, committing, merging."""
