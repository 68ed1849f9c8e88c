"""From a specification to a plan: every default resolved once, one closed NodePlan for each node."""
