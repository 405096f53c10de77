"""Ray Serve handles as the protocols of `deployments.interfaces`.

Only these modules call `.remote()`.
"""
