"""What is measured: the line-up, what each network costs, a user's own file."""
