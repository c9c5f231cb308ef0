"""The shell's face: one thin module per subcommand, with its options, one call, and what it prints."""
