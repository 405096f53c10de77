"""The documented cluster configuration on a real Ray of several nodes, all on this machine."""
