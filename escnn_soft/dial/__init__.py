"""The dial: a policy on the levels of a weight, what it lets pass, and what evaluation keeps of that."""

from escnn_soft.dial.allowance import Allowance
from escnn_soft.dial.dial import Dial, check_bounded
from escnn_soft.dial.kept import Kept, may_keep
from escnn_soft.dial.soft_module import DialHolder, SoftModule

__all__ = ["Allowance", "Dial", "DialHolder", "Kept", "SoftModule", "check_bounded", "may_keep"]
