"""What is known of each module of escnn and of torch."""

from escnn_soft.certification.rules.rule import Call, Rule
from escnn_soft.certification.rules.rule_table import EVALUATED, RULES

__all__ = ["EVALUATED", "RULES", "Call", "Rule"]
