"""Returns, value models and advantages. Holds nothing yet: today the loop ends at imitation and its evaluation."""
