"""The writer's thread: changes, what is told after a commit, and the journal."""
