"""Speed, compared in one process with what a user would pick instead."""
