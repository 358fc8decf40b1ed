"""What the distillation will cost in all, and after how many requests it has paid for itself. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from distillery.querying import CostEstimate


@dataclass(frozen=True, slots=True)
class CostForecast:
    """Amounts in micros. A request to the student counts as free of the teacher's price."""

    spent_micro: int
    """What the object has paid so far, in all attempts."""
    rest: CostEstimate
    """Questions of this stage that are still to be bought."""
    evaluation: CostEstimate
    """Questions of the evaluation that are still to be bought."""
    micro_per_thousand: int
    """What the teacher takes for a thousand production requests."""
    monthly_requests: int | None

    @property
    def expected_micro(self) -> int:
        """Expected cost of the teacher for the whole job."""
        return self.spent_micro + self.rest.expected_micro + self.evaluation.expected_micro

    @property
    def set_aside_micro(self) -> int:
        """What labelling must leave for the evaluation: its last call, too, reserves the most that it can cost."""
        return self.evaluation.expected_micro + self.evaluation.largest_micro

    @property
    def payback_requests(self) -> int | None:
        """After how many production requests the job has cost less than asking the teacher; None without prices."""
        if self.micro_per_thousand <= 0:
            return None
        return math.ceil(self.expected_micro * 1000 / self.micro_per_thousand)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form for usage.json."""
        payback, months = self.payback_requests, None
        if payback is not None and self.monthly_requests:
            months = round(payback / self.monthly_requests, 3)
        return {
            "expectedMicro": self.expected_micro,
            "restExpectedMicro": self.rest.expected_micro,
            "evaluationExpectedMicro": self.evaluation.expected_micro,
            "microPerThousandRequests": self.micro_per_thousand,
            "paybackRequests": payback,
            "paybackMonths": months,
        }
