"""One family of figures a module: a view in, a drawing with its words out."""
