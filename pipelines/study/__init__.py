"""`recap study`: the same question asked of many runs, one small JSON file per answer, and the tables made of them."""
