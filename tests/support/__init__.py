"""What tests share: real servers on free ports, each run with directories of its own."""
