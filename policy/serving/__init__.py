"""A policy behind a socket: the server that the stock `openpi-client` talks to, several robots to one forward pass.

Owns the protocol, the batches and who may ask. It knows any policy as a `recap.protocols.ServedPolicy`, hence neither
torch nor a family, and not where a bundle comes from (pipelines.serving).
"""
