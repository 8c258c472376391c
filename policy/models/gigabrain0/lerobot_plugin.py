"""Makes LeRobot know the policy type `recap_gigabrain0`: importing this registers config, policy and processors."""

from policy.models.gigabrain0 import (
    configuration_recap_gigabrain0,
    modeling_recap_gigabrain0,
    processor_recap_gigabrain0,
)

__all__ = ["configuration_recap_gigabrain0", "modeling_recap_gigabrain0", "processor_recap_gigabrain0"]
