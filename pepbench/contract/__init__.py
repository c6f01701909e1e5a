"""The contracts of methods and backbones: rules as checks, toy tasks, and their commands."""
