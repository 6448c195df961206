"""Slow, obviously right oracles: each computes by definition what the library computes by a fast path."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from escnn.group import GroupElement
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType
from torch import Tensor


def fibre_action(element: GroupElement, weight: Tensor, in_type: FieldType, out_type: FieldType) -> Tensor:
    """rho_out(g) W rho_in(g)^-1 at each pixel.  # weight: (out, in, S)"""
    rho_out = torch.from_numpy(out_type.representation(element)).to(weight)
    rho_in = torch.from_numpy(np.linalg.inv(in_type.representation(element))).to(weight)
    return torch.einsum("ab,bcs,cd->ads", rho_out, weight, rho_in)


def pixel_action(
    element: GroupElement, weight: Tensor, in_type: FieldType, out_type: FieldType, kernel_size: int
) -> Tensor:
    """(g . K)(x) = rho_out(g) K(g^-1 x) rho_in(g)^-1, looking up each rotated pixel by its coordinates."""
    gspace: GSpace2D = in_type.gspace
    inverse = gspace.basespace_action(~element)
    half = (kernel_size - 1) / 2
    moved = torch.empty_like(weight)
    for row in range(kernel_size):
        for column in range(kernel_size):
            x, y = inverse @ np.array([column - half, half - row])  # y points up, rows run down
            source = round(half - y) * kernel_size + round(x + half)
            moved[:, :, row * kernel_size + column] = weight[:, :, source]
    return fibre_action(element, moved, in_type, out_type)


def voxel_action(
    element: GroupElement, weight: Tensor, in_type: FieldType, out_type: FieldType, kernel_size: int
) -> Tensor:
    """As :func:`pixel_action`, voxel by voxel: x runs along the last axis, y and z against the others."""
    inverse = in_type.gspace.basespace_action(~element)
    half = (kernel_size - 1) / 2
    moved = torch.empty_like(weight)
    for slab, row, column in product(range(kernel_size), repeat=3):
        x, y, z = inverse @ np.array([column - half, half - row, half - slab])
        source = (round(half - z) * kernel_size + round(half - y)) * kernel_size + round(x + half)
        moved[:, :, (slab * kernel_size + row) * kernel_size + column] = weight[:, :, source]
    return fibre_action(element, moved, in_type, out_type)


def continuous_error(
    element: GroupElement, kernel: Tensor, in_type: FieldType, out_type: FieldType, kernel_size: int, harmonics: list
) -> float:
    """||g . K - K|| of the band-limited continuous kernel that interpolates a sampled one.

    The kernel's coefficients are found by least squares on the sampled rings; a base-space isometry maps the pair
    (cos j phi, sin j phi) to itself by a 2 x 2 matrix that is read off from how it moves two directions. The norm
    counts each pair with its mean energy on the pixels.
    """
    half = (kernel_size - 1) / 2
    xy = np.array([[c - half, half - r] for r in range(kernel_size) for c in range(kernel_size)])
    radius, angle = np.hypot(*xy.T), np.arctan2(xy[:, 1], xy[:, 0])
    matrix = in_type.gspace.basespace_action(element)
    reflected = np.linalg.det(matrix) < 0
    columns, actions = [], []
    for h in harmonics:
        profile = np.exp(-0.5 * ((radius - h.radius) / h.width) ** 2)
        j = h.frequency
        if j == 0:
            pair, action = profile[:, None], np.eye(1)
        else:
            profile = profile * (radius > 1e-9)
            pair = np.stack([profile * np.cos(j * angle), profile * np.sin(j * angle)], axis=1)
            # g maps angle phi to a + phi, or to a - phi; f(g^-1 x) in terms of cos and sin of j phi
            a = math.atan2(matrix[1, 0], matrix[0, 0])
            c, s = math.cos(j * a), math.sin(j * a)
            action = np.array([[c, s], [s, -c]]) if reflected else np.array([[c, -s], [s, c]])
        energy = math.sqrt(np.mean(np.sum(pair**2, axis=0)))
        columns.append(pair / energy)
        actions.append(action)
    basis = np.concatenate(columns, axis=1)
    coefficients = torch.from_numpy(np.linalg.pinv(basis)) @ kernel.double().permute(2, 0, 1).flatten(1)
    coefficients = coefficients.view(-1, *kernel.shape[:2]).permute(1, 2, 0)
    moved = fibre_action(element, coefficients, in_type, out_type)
    moved = moved @ torch.from_numpy(np.asarray(torch.block_diag(*map(torch.from_numpy, actions)))).T
    return float((moved - coefficients).norm())


def principal_sine(first: Tensor, second: Tensor) -> float:
    """Sine of the largest principal angle between the spans of two sets of rows of equal rank."""
    a, b = (torch.linalg.qr(x.double().flatten(1).T)[0] for x in (first, second))
    return float(torch.linalg.matrix_norm(a - b @ (b.T @ a), ord=2))
