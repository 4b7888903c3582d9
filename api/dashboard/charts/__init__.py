"""Pictures in SVG, drawn on the server: scales and shapes are numbers here, colours are of the style sheet."""
