"""Training that can be killed at any moment: the only place in recap that imports torch.

`recap` itself never imports this package.
"""
