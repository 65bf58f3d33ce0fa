"""The host, through its own command line client: run it (`client`), submit and download with it (`commands`)."""
