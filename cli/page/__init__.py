"""The report as one page: what it shows is collected here, a section a module, and drawn in the browser (`static/`)."""
