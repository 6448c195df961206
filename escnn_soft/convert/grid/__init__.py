"""Pixels of plain models: what breaks the action of a group on them, and mending strides."""
