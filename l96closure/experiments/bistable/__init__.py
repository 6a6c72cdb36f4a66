"""The bistable experiment, Section 4 of Gottwald & Reich (2024): trajectories of a Langevin equation, more of them."""
