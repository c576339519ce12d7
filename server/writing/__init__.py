"""The writer's thread: changes, the notifications after a commit, and the journal."""
