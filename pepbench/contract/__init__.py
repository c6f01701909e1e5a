"""What every method must keep to: checks, a toy task to run them on, and a command that does."""
