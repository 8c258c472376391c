"""Returns, value models and advantages: what turns outcomes into one label per frame.

returns.py      G_t of every frame, from outcome and length
models/         value models behind one protocol: viva, vlm, cnn, clock, state_only, and the controls oracle and random
folds.py        which episodes label which (cross-fitting)
advantage.py    N-step advantages, thresholds, labels
health.py       are the labels fit to train on?
evaluation.py   are held-out values any good? figures with intervals (metrics.py, event_scores.py, value_health.py)

Never imports `policy`.
"""
