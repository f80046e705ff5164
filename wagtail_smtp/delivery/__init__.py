"""A message's way: classify, candidates, shape, transport."""
