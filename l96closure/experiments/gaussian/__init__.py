"""The Gaussian experiment, Section 3.1.1 of Gottwald & Reich (2024): a known Gaussian, samples of it, more samples."""
