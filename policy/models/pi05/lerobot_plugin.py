"""Makes LeRobot know the policy type `recap_pi05`: importing this registers config, policy and processors.

LeRobot's scripts import it themselves when told `--policy.discover_packages_path=policy.models.pi05.lerobot_plugin`.
"""

from policy.models.pi05 import configuration_recap_pi05, modeling_recap_pi05, processor_recap_pi05

__all__ = ["configuration_recap_pi05", "modeling_recap_pi05", "processor_recap_pi05"]
