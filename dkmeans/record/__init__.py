"""The record of a fit, and models on disk."""
