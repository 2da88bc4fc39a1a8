"""What the node would say of a file before it is deployed: pods, HOT templates, metadata. For `validate`.

The checks are those of the node itself (`pods.py`, `options.py`); here it is only found out what they are to look at,
where it stands, and what cannot be known before Heat knows it.
"""
