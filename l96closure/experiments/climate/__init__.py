"""The closure experiment: a coarse model with a fitted closure beside the truth, by climate and by forecasts."""
