"""Whether a job does what it is there for, and if not, why: facts in, one sentence out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """A job is healthy while it runs, reaches the outside, and completes checkpoints."""

    reason: str = ""
    """Why it is not; empty for a healthy job."""

    @property
    def is_healthy(self) -> bool:
        """True while nothing is wrong."""
        return not self.reason


HEALTHY = Health()


def judge(*, outages: str, failure: str, trouble: str) -> Health:
    """Gives the health of a job. What is nearest to the cause is the reason.

    `outages`: what of the outside does not answer; `failure`: the error that the job has not come back from yet;
    `trouble`: why no checkpoint completes.
    """
    return Health(outages or failure or trouble)
