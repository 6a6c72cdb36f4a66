"""The data experiment: a closure for a truth that is a file of the user's, perhaps with a coarse model of theirs."""
