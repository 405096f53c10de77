"""HTTP and wiring: the ingress of GenServe and the graph of its deployments."""
