"""Between stores: datasets copied from one to another."""
