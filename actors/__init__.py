"""The allocator, execution and group actors, their messages and their pure rules."""
