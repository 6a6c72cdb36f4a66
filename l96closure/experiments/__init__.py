"""The experiments: each module holds the stages of one, as plain functions in the order they run."""
