"""What is measured: the line-up, one file per paper, and what each network costs."""
