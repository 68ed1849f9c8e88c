"""cluster.yaml: its model, its loader and the rules that no type can say."""
