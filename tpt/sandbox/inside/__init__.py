"""What runs inside the sandbox, on the bare standard library: there, nothing else of the package can be seen."""
