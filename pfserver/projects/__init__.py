"""What is produced: the .pf project, its data sources, rules and templates."""
