"""Matrix groups, given by generators: their elements, their representations, and what commutes with them."""
