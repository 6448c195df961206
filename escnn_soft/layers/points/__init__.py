"""Soft convolutions over the edges of graphs of points."""
