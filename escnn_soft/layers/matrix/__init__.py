"""Soft layers between representations of any matrix group, on plain tensors."""
