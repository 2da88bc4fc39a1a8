"""Commands for a person on the node, a module each: `main(given)` does it and gives the exit status.

`console.py` is how they write, `node_view.py` what they look at, `names.py` how a person names a deployment or a pod.
None of them is imported by what works in the node by itself.
"""
