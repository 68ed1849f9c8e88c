"""Plan and secrets → artefacts: pure, no clock, no network, no environment."""
