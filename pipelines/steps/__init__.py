"""The steps of the loop, a folder each (step, worker, outputs): each registers itself and imports nothing heavy."""
