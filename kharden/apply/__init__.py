"""build/<cluster>/ → nodes, by Ansible; what is applied is exactly what was reviewed."""
