"""What the rows mean."""
