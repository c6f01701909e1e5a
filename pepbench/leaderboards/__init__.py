"""Published leaderboards: run, publish and verify the folders in ``results/``."""
