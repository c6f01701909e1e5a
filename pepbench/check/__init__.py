"""``pepbench check``: has a change of the code cost accuracy, size, speed or memory?"""
