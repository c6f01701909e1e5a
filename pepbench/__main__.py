"""``python -m pepbench``."""

from pepbench.cli import main

main()
