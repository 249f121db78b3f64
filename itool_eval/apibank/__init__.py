"""API-Bank by call matching, named "API-Bank (AST)" because the official check runs simulators."""
