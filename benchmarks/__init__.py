"""Each question of docs/contributing/performance.md, measured side by side with its peers."""
