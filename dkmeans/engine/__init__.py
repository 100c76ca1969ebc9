"""Kernels, passes and the algorithms made of them."""
