"""Claims about a measured set, each tested."""
