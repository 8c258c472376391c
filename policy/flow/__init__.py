"""Vision-language-action networks whose action expert is a flow: what the families of them share.

A prefix of images and prompt is computed once; an action expert of as many layers reads its keys and values and turns
noise into a chunk of actions. Owns the vocabulary of small networks, the layers' parts, the loss, training, bundles
and acting. A family (policy/models/<family>) adds the published layers under their published names, its prompt, its
scaling and the files that other libraries read. Importing this package costs no torch.
"""
