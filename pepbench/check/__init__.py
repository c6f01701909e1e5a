"""``pepbench check``: has a change of the code cost accuracy, size, speed or memory?"""

LOSS_MARGIN = 0.001
"""Default tolerance of a loss of AUC."""

TIME_MARGIN = 0.1
"""Default tolerance of growth in time and memory, as a share."""

REPETITIONS = 7
"""Default number of processes that time the cells."""
