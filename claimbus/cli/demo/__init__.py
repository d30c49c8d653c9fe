"""The demo: a sample run of the whole system, judged by what its receivers wrote down."""
