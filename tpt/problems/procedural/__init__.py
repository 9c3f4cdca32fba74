"""Problems that are generated, offline."""
