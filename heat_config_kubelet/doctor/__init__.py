"""What `doctor` checks, a module for each area of the node, and the one table of all checks (`table.py`).

A check is a function that takes the `Node` and gives findings, none where all is well. It changes nothing. What it
may not look at raises PermissionError, what it cannot look at OSError or AgentError: then that is told instead.
"""
