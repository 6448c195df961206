"""Soft convolutions on pixels and voxels."""
