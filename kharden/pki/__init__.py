"""Keys and certificates of a cluster: one table, issued once, sealed in three stores, shared out by role."""
