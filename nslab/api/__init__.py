"""What the user wrote: Kubernetes objects and the Lab, decoded with positions, validated, defaulted.

Here live the decoder (YAML to objects, every fault in one pass), the JSON Schemas, the semantic rules and the
defaults of the Kubernetes API server. Here never lives anything that allocates or decides (that is `cluster`), nor
any effect but reading the named files.
"""
