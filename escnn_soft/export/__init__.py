"""Networks that run without escnn: as plain torch modules, and as ONNX, TorchScript or ``torch.export`` files."""

from escnn_soft.export.plain import plain
from escnn_soft.export.programs import PROGRAMS, Program
from escnn_soft.export.save_program import TOLERANCE, save_program

__all__ = ["PROGRAMS", "TOLERANCE", "Program", "plain", "save_program"]
