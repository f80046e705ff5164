"""Each question of docs/performance.md, measured side by side with its peers and its limit."""
