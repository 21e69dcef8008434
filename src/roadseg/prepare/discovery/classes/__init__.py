"""Find out the classes of a data set, from its masks, annotations and class tables."""
