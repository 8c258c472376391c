"""Where experience comes from and how it lies on disk: simulators, tasks, episodes, training batches."""
