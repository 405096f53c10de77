"""The placement of replicas on nodes."""
