"""`recap compare`: value models side by side on the same episodes and folds.

    values and ablations -> k/NAME/value_train -> k/NAME/value_label -> k/judge, per seed -> one page and its tables

The steps are those of a run, with their keys: what a run has trained is not trained again, and any kill is resumed.
"""
