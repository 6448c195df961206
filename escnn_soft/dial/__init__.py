"""The dial: a policy on the levels of a weight, what it lets pass, and what evaluation keeps of that."""

from escnn_soft.dial.allowance import Allowance
from escnn_soft.dial.dial import Dial, check_bounded
from escnn_soft.dial.evaluation import evaluated
from escnn_soft.dial.held import Held
from escnn_soft.dial.kept import Kept, may_keep
from escnn_soft.dial.lasting import lasting, place
from escnn_soft.dial.motion import largest_error
from escnn_soft.dial.policies import as_policy, as_softness
from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.cutoff import Cutoff
from escnn_soft.dial.policies.exponential import Exponential
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.learned import Learned
from escnn_soft.dial.policies.policy import DIAL_TOLERANCE, Policy
from escnn_soft.dial.policies.schedules import CosineSchedule, LinearSchedule, Schedule
from escnn_soft.dial.soft_filter import FieldTypes, SoftFilter, weight_filter
from escnn_soft.dial.soft_module import DialHolder, SoftModule

__all__ = [
    "DIAL_TOLERANCE",
    "Allowance",
    "Budget",
    "CosineSchedule",
    "Cutoff",
    "Dial",
    "DialHolder",
    "Exponential",
    "FieldTypes",
    "Graded",
    "Held",
    "Kept",
    "Learned",
    "LinearSchedule",
    "Policy",
    "Schedule",
    "SoftFilter",
    "SoftModule",
    "as_policy",
    "as_softness",
    "check_bounded",
    "evaluated",
    "largest_error",
    "lasting",
    "may_keep",
    "place",
    "weight_filter",
]
