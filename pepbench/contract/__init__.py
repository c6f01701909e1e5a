"""The contract of methods: its rules as checks, a toy task, and the command ``test-method``."""
