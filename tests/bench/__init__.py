"""The measurements of `tools/bench`: ours beside a floor or a peer, taken in turn, on a real node."""
