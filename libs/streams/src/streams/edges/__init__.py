"""Where records enter and leave beside stages: sources, senders, tails and projections."""
