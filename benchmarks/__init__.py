"""Speed, side by side in one process with what a user would pick instead."""
