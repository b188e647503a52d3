"""Actions of operators on rows of any model: confirmed, one transaction per row, with an audit."""
