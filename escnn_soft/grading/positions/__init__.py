"""Token grids: tables of positions and offsets, shifts, and rotary channels, graded."""
