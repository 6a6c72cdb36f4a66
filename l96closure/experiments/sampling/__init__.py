"""What experiments on a known distribution share: chains, how they are judged, shown and run."""
