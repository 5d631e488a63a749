"""Tables: built once as a grid, written as HTML, CSV or LaTeX."""
