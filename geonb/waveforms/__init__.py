"""Ground motion and its like, for whoever records it: archives and catalogues, preparation, arrays and their beams, other formats."""
