"""Sizes of the same loop, one file each: a function from tasks and families to a full RunConfig. Nothing else differs.

micro   one process, seconds: tests and a first look
smoke   Ray actors, a minute or two: the whole machinery
sim     the default: learns on two CPU cores
real    published weights on accelerators: real-pi05, real-gigabrain0; with adapters on one card: lora-pi05,
        lora-gigabrain0
"""
