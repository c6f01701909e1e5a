"""The plug-in on models from outside: DeepCTR-Torch, FuxiCTR, a two-tower model of plain torch."""
