"""Settings files: settings sets as YAML or JSON, for a repository."""
